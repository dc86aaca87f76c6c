package stdio

import "sync"

// Spare has pipes ready for the next process without input: to make them takes an emulated machine a tenth of a short exec, and nobody waits while it has nothing else to do.
type Spare struct {
	mu    sync.Mutex
	ready *Pipes
}

// Take returns the pipes that are ready, or new ones. The input is at its end.
func (s *Spare) Take() (*Pipes, error) {
	s.mu.Lock()
	ready := s.ready
	s.ready = nil
	s.mu.Unlock()
	if ready != nil {
		return ready, nil
	}
	return newEnded()
}

func newEnded() (*Pipes, error) {
	p, err := NewPipes()
	if err == nil {
		p.Stdin.Close()
	}
	return p, err
}

// Refill has pipes ready. Whoever takes some then calls it when there is time.
func (s *Spare) Refill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready != nil {
		return
	}
	made, err := newEnded()
	if err != nil { // who needs some next says so
		return
	}
	s.ready = made
}
