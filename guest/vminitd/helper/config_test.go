package helper

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestProgramsFollowTheConfiguration(t *testing.T) {
	sent := Config{User: "app", Filters: []Filter{{Program: []byte("first"), Size: 5, Flags: 2}, {Program: []byte("2"), Size: 1}}}
	text, programs, err := sent.Encode()
	if err != nil || bytes.Contains(text, []byte("first")) {
		t.Fatalf("%s, %v", text, err)
	}
	got, err := decodeConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.readPrograms(bytes.NewReader(programs)); err != nil || !reflect.DeepEqual(*got, sent) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, bad := range map[string]Config{"too long": {Filters: []Filter{{Size: 6}}}, "negative": {Filters: []Filter{{Size: -1}}}, "huge": {Filters: []Filter{{Size: 1 << 40}}}} {
		if err := bad.readPrograms(bytes.NewReader([]byte("first"))); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// fill gives everything below a value another one than zero, and each its own.
func fill(v reflect.Value, next *int) {
	*next++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), next)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), next)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), next)
		fill(v.Index(1), next)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, next)
		fill(value, next)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(string(rune('a'+*next%26)) + string(rune('A'+*next/26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*next))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		v.SetUint(uint64(*next))
	default:
		panic(v.Kind().String())
	}
}

func TestAConfigurationArrivesWhole(t *testing.T) {
	var all Config
	fill(reflect.ValueOf(&all).Elem(), new(int))
	for i := range all.Filters { // which do not travel with the text
		all.Filters[i].Program = nil
		all.Filters[i].Size = 0
	}
	all.Process.OOMScoreAdj = nil // vminitd's to do
	exec := all
	exec.Init, exec.Rehearsal, exec.Supervised = nil, false, false
	plain := Config{Process: &specs.Process{Args: []string{"true"}, Cwd: "/"}}
	for name, sent := range map[string]Config{"all there is": all, "a further process": exec, "little": plain, "a rehearsal": {Rehearsal: true, Init: all.Init}, "none": {}} {
		t.Run(name, func(t *testing.T) {
			text, _, err := sent.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeConfig(text)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, sent) {
				want, _ := json.MarshalIndent(sent, "", " ")
				have, _ := json.MarshalIndent(got, "", " ")
				t.Errorf("got %s\nsent %s", have, want)
			}
		})
	}
}

func TestAUsualFurtherProcessNeedsNoJSON(t *testing.T) {
	limits := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 1 << 63}}
	umask := uint32(0o27)
	p := &specs.Process{Terminal: true, ConsoleSize: &specs.Box{Width: 80, Height: 24}, Args: []string{"sh", "-c", "{}"}, Env: []string{"A=b"}, Cwd: "/work", Rlimits: limits,
		User: specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{3}, Umask: &umask}, NoNewPrivileges: true, Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}}}
	text, _, err := Config{Process: p, User: "app", Groups: []string{"extra"}, Filters: []Filter{{Flags: 1}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	u := unpacker{packed: text}
	if u.bytes(); len(u.packed) > 0 || u.damaged {
		t.Errorf("%q is left to be read as JSON", u.packed)
	}
}

func FuzzDecodeConfig(f *testing.F) {
	text, _, err := Config{Process: &specs.Process{Args: []string{"true"}, Cwd: "/"}, User: "app"}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("\x00{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := decodeConfig(text); err == nil && c == nil {
			t.Error("neither a configuration nor an error")
		}
	})
}
