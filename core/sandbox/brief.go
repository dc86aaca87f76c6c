package sandbox

import (
	"net"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// tookBrief keeps what the guest has told of a process that has ended.
func (s *Sandbox) tookBrief(id string, p *execProcess, answer *guestv1.CreateProcessResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-p.deleted:
		return noProcess(id)
	default:
	}
	p.runs, p.brief = true, answer
	close(p.opened)
	return nil
}

// Brief is all there is to know of a process that has ended by the time it is known to have started.
type Brief struct {
	Outcome
	Stdout, Stderr []byte
}

// TakeBrief forgets a process that was brief. It returns nil of any other, which is as before.
func (s *Sandbox) TakeBrief(id string) *Brief {
	p := s.process(id)
	if p == nil || p.brief == nil {
		return nil
	}
	brief := &Brief{s.processOutcome(p.brief.GetExit()), p.brief.GetStdout(), p.brief.GetStderr()}
	s.deleteQuietly(id)
	return brief
}

// joinBrief passes on what a process wrote that has ended.
func (p *execProcess) joinBrief(stream int, conn net.Conn) error {
	said := map[int][]byte{1: p.brief.GetStdout(), 2: p.brief.GetStderr()}[stream]
	if len(said) == 0 {
		return nil
	}
	_, err := conn.Write(said)
	return err
}
