package container

import (
	"context"
	"time"

	"github.com/vzctl/vzctl/guest/vminitd/stdio"
)

// maxBrief bounds how long a caller waits in StartBrief.
const maxBrief = time.Second

// Output is all that a process wrote.
type Output struct {
	Stdout, Stderr []byte
}

// Brief is how a process has ended, and all that it wrote.
type Brief struct {
	Exit
	Output
}

// StartBrief is Start of a further process without terminal, and waits for its end, but no longer than patience, and not for others who have its output. It returns nil unless all of the process can be told;
// then all is as after Start. Otherwise the caller deletes the process when it has told it.
func (p *Process) StartBrief(ctx context.Context, patience time.Duration) (brief *Brief, err error) {
	defer func() {
		if brief == nil {
			p.tidy()
		}
	}()
	begun := time.Now()
	patience = min(patience, maxBrief)
	if p.pipes == nil || p.id == InitProcess {
		patience = 0
	}
	if _, err := p.start(ctx, patience); err != nil || patience == 0 {
		return nil, err
	}
	if !p.ended() {
		late := time.NewTimer(patience - time.Since(begun))
		defer late.Stop()
		select {
		case <-p.done:
		case <-late.C:
			return nil, nil
		case <-ctx.Done():
			return nil, nil
		}
	}
	if all := p.TakeOutput(); all != nil {
		return &Brief{p.exit, *all}, nil
	}
	return nil, nil
}

// TakeOutput returns all that a process without terminal wrote that has ended, and ends its outputs. If it cannot be told at once, or somebody has opened one of them, it returns nil, and all is as
// it would be without the call.
func (p *Process) TakeOutput() *Output {
	if p.pipes == nil || !p.ended() {
		return nil
	}
	rests, all := stdio.Rest(p.pipes.Stdout, p.pipes.Stderr)
	if !all {
		return nil
	}
	return &Output{Stdout: rests[0], Stderr: rests[1]}
}
