package container

import (
	"context"
	"time"
)

// maxBrief bounds how long a caller waits in Brief.
const maxBrief = time.Second

// Brief is how a process has ended, and all that it wrote.
type Brief struct {
	Exit           Exit
	Stdout, Stderr []byte
}

// AwaitBrief waits for the end of a further process without terminal, but no longer than patience, and not for others who have its output. It returns nil unless all of it can be told; then all is
// as it would be without the call.
func (p *Process) AwaitBrief(ctx context.Context, patience time.Duration) *Brief {
	if p.pipes == nil || p.id == InitProcess {
		return nil
	}
	late := time.NewTimer(min(patience, maxBrief))
	defer late.Stop()
	select {
	case <-p.done:
	case <-late.C:
		return nil
	case <-ctx.Done():
		return nil
	}
	b := &Brief{Exit: p.exit}
	var all bool
	if b.Stderr, all = p.pipes.Stderr.Rest(); !all {
		return nil
	}
	if b.Stdout, all = p.pipes.Stdout.Rest(); !all {
		p.pipes.Stderr.Return(b.Stderr)
		return nil
	}
	return b
}
