package store

import (
	"encoding/json"
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestRecordsAreDecodedAsByTheLibrary: what it has written itself, and what somebody has spoilt.
func TestRecordsAreDecodedAsByTheLibrary(t *testing.T) {
	var texts [][]byte
	for _, kind := range []reflect.Type{reflect.TypeFor[Container](), reflect.TypeFor[Sandbox](), reflect.TypeFor[specs.Spec]()} {
		for _, value := range []reflect.Value{reflect.New(kind).Elem(), filled(kind, 5, false), filled(kind, 5, true)} {
			text, err := json.Marshal(value.Interface())
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
	}
	for _, text := range []string{"", "{", "null", "[]", "1", `{"id":1}`, `{"id":null,"run":null,"mounts":null,"names":null,"created":null,"disks":[null],"labels":{"a":1}}`, `{"unknown":[{}],"run":{"timeline":[{"begin":"x"}]}}`,
		`{"run":[]}`, `{"mounts":{}}`, `{"run":{"addresses":["x"]}}`, `{"created":"yesterday"}`, `{"process":{"args":[1]}}`, `{"cpus":-1}`, `{"id":"\ud800"} x`, "{\"id\":\"\xff\"}"} {
		texts = append(texts, []byte(text))
	}
	for _, text := range texts {
		for _, kind := range []reflect.Type{reflect.TypeFor[Container](), reflect.TypeFor[Sandbox](), reflect.TypeFor[specs.Spec]()} {
			want, got := reflect.New(kind), reflect.New(kind)
			wantErr := json.Unmarshal(text, want.Interface())
			err := decode(text, got.Interface())
			if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got.Interface(), want.Interface()) {
				t.Errorf("%s as %s:\n%+v, %v, want\n%+v, %v", text, kind, got.Elem(), err, want.Elem(), wantErr)
			}
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	text, _ := json.Marshal(Container{ID: "x", Process: Process{Args: []string{"sh"}, Env: []string{"A=b", "C=d"}}, Mounts: []Mount{{}}, Run: &Run{Timeline: make([]Phase, 20)}})
	for name, decode := range map[string]func([]byte, any) error{"library": json.Unmarshal, "few": decode} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var c Container
				if err := decode(text, &c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
