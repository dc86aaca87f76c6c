package stdio

import (
	"io"
	"testing"
)

func TestPipesThatAreReadyAreUsedOnceAndTheirInputIsAtItsEnd(t *testing.T) {
	var s Spare
	s.Refill()
	ready := s.ready
	s.Refill()
	for i, want := range []bool{true, false} {
		p, err := s.Take()
		if err != nil || (p == ready) != want {
			t.Errorf("the ones that were ready %v, %v", p == ready, err)
		}
		if got, err := io.ReadAll(p.Far()[0]); len(got) != 0 || err != nil {
			t.Errorf("input of %d: %q, %v", i, got, err)
		}
		p.Close()
	}
}
