package helper

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

func TestProgramsFollowTheConfiguration(t *testing.T) {
	sent := Config{User: "app", Filters: []Filter{{Program: []byte("first"), Size: 5, Flags: 2}, {Program: []byte("2"), Size: 1}}}
	text, programs, err := sent.Encode()
	if err != nil || bytes.Contains(text, []byte("first")) {
		t.Fatalf("%s, %v", text, err)
	}
	var got Config
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if err := got.readPrograms(bytes.NewReader(programs)); err != nil || !reflect.DeepEqual(got, sent) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, bad := range map[string]Config{"too long": {Filters: []Filter{{Size: 6}}}, "negative": {Filters: []Filter{{Size: -1}}}, "huge": {Filters: []Filter{{Size: 1 << 40}}}} {
		if err := bad.readPrograms(bytes.NewReader([]byte("first"))); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
