package fault

import (
	"errors"
	"testing"
)

func TestAnErrorCrossesInAMessage(t *testing.T) {
	text, err := Marshal(&Error{Reason: NotFound, Op: "execute", Subject: "nosuch"})
	if err != nil {
		t.Fatal(err)
	}
	got, ok := Unmarshal(text)
	if e, is := errors.AsType[*Error](got); !ok || !is || e.Reason != NotFound || e.Op != "execute" || e.Subject != "nosuch" {
		t.Errorf("%v, %v", got, ok)
	}
	for name, text := range map[string][]byte{"nothing": nil, "success": {8, 0}, "no message": {0xff}} {
		if got, ok := Unmarshal(text); ok {
			t.Errorf("%s is taken for %v", name, got)
		}
	}
}
