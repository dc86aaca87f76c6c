package store

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestRecordsAreEncodedAsByTheLibrary: with nothing in them, with everything, and with each value that looks empty and is not.
func TestRecordsAreEncodedAsByTheLibrary(t *testing.T) {
	type embeds struct {
		Exit
		A int `json:"a"`
	}
	type odd struct {
		NoTag   int
		Text    int             `json:"text,string"`
		Skipped int             `json:"-"`
		Raw     json.RawMessage `json:"raw,omitempty"`
		Any     any             `json:"any"`
		Bytes   []byte          `json:"bytes"`
		Array   [2]Exit         `json:"array"`
		Map     map[string]Exit `json:"map"`
	}
	type plain struct {
		Raw   json.RawMessage `json:"raw,omitempty"`
		Any   any             `json:"any"`
		Bytes []byte          `json:"bytes"`
		Array [2]Exit         `json:"array,omitempty"`
		Map   map[string]Exit `json:"map"`
		Zero  *time.Time      `json:"zero,omitzero"`
		hide  int
	}
	for _, kind := range []reflect.Type{reflect.TypeFor[Container](), reflect.TypeFor[Sandbox](), reflect.TypeFor[Exit](), reflect.TypeFor[specs.Spec](), reflect.TypeFor[embeds](), reflect.TypeFor[odd](),
		reflect.TypeFor[plain](), reflect.TypeFor[[]Exit](), reflect.TypeFor[*Run](), reflect.TypeFor[map[string]*Run](), reflect.TypeFor[string]()} {
		for how, value := range map[string]reflect.Value{"empty": reflect.New(kind).Elem(), "full": filled(kind, 5, false), "hollow": filled(kind, 5, true)} {
			for form, v := range map[string]any{"value": value.Interface(), "pointer": pointerTo(value)} {
				want, wantErr := json.Marshal(v)
				got, err := encode(v)
				if string(got) != string(want) || (err == nil) != (wantErr == nil) {
					t.Errorf("%s %s of %s:\n%s, %v, want\n%s, %v", how, form, kind, got, err, want, wantErr)
				}
			}
		}
	}
	if got, err := encode(nil); string(got) != "null" || err != nil {
		t.Errorf("nil is %s, %v", got, err)
	}
	if _, err := encode(plain{hide: 1, Any: func() {}}); err == nil {
		t.Error("a function was encoded")
	}
}

func pointerTo(v reflect.Value) any {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p.Interface()
}

// filled returns a value in which everything is set: pointers to something, slices and maps of one, or none if hollow.
func filled(t reflect.Type, depth int, hollow bool) reflect.Value {
	v := reflect.New(t).Elem()
	switch t {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1, 2).UTC()))
		return v
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.MustParseAddr("10.0.0.1")))
		return v
	case reflect.TypeFor[netip.Prefix]():
		v.Set(reflect.ValueOf(netip.MustParsePrefix("fd00::/64")))
		return v
	case reflect.TypeFor[json.RawMessage]():
		v.SetBytes([]byte(`{"a": 1}`))
		return v
	}
	if depth == 0 {
		return v
	}
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(!hollow)
	case reflect.String:
		v.SetString("<a & \"b\">\u2028\xff")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(-3)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(3)
	case reflect.Float64:
		v.SetFloat(1e21)
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		if !hollow {
			v.Elem().Set(filled(t.Elem(), depth-1, hollow))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(t, 0, 2))
		if !hollow {
			v.Set(reflect.Append(v, filled(t.Elem(), depth-1, hollow), reflect.New(t.Elem()).Elem()))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		if !hollow {
			v.SetMapIndex(filled(t.Key(), depth-1, hollow), filled(t.Elem(), depth-1, hollow))
		}
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				v.Field(i).Set(filled(t.Field(i).Type, depth-1, hollow))
			}
		}
	case reflect.Interface:
		if t.NumMethod() == 0 {
			v.Set(reflect.ValueOf("any"))
		}
	}
	return v
}

func TestAFileThatIsLikeThatIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	inode := func() os.FileInfo {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	keep := func(value any) {
		if err := KeepJSON(path, value); err != nil {
			t.Fatal(err)
		}
	}
	keep([]string{"a"})
	first := inode()
	if keep([]string{"a"}); !os.SameFile(first, inode()) {
		t.Error("what was there already was written again")
	}
	keep([]string{"b"})
	var got []string
	if err := ReadJSON(path, &got); err != nil || len(got) != 1 || got[0] != "b" {
		t.Errorf("read %v, %v", got, err)
	}
}
