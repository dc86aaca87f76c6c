package serialmux

import (
	"io"
	"sync"
	"testing"
)

// TestTwoWritersOfOneConnectionShareItsRoom has one of them leave most of the room that the other waits for.
func TestTwoWritersOfOneConnectionShareItsRoom(t *testing.T) {
	p := newPair(t, nil)
	host, guest := p.stream(t)
	full := make([]byte, firstRoom)
	if _, err := guest.Write(full); err != nil { // until the host says that it has more, which it does at once
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 100 {
				if _, err := guest.Write(make([]byte, 10)); err != nil {
					t.Error(err)
				}
			}
			if _, err := guest.Write(full); err != nil {
				t.Error(err)
			}
		})
	}
	want := int64(firstRoom + 8*(1000+firstRoom))
	if n, err := io.CopyN(io.Discard, host, want); n != want || err != nil {
		t.Errorf("%d of %d bytes, %v", n, want, err)
	}
	writers.Wait()
}

func TestRoomThatIsLeftIsSomebodyElses(t *testing.T) {
	l := &link{streams: map[uint32]*streamState{}}
	state := newStreamState()
	state.grow(0)
	<-state.grown // one of two who wait
	if n, err := l.reserve(state, 10); n != 10 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	select {
	case <-state.grown:
	default:
		t.Error("the other waits, though there is room")
	}
}
