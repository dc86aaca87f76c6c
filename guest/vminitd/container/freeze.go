package container

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/vzctl/vzctl/guest/vminitd/netconf"
	"github.com/vzctl/vzctl/guest/vminitd/stdio"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Freeze stops the processes of a container and has their streams given back, that of the first process's input at the border. loseConnections lets it do so although
// there are open connections to others. After an error it is thawed.
func (r *Runtime) Freeze(ctx context.Context, id string, input stdio.Border, loseConnections bool) error {
	r.freezing.Lock()
	defer r.freezing.Unlock()
	c, processes, err := r.forFreezing(id)
	if err != nil {
		return err
	}
	if err := c.freeze(ctx, processes, input, loseConnections); err != nil {
		return errors.Join(err, c.group.Thaw())
	}
	return nil
}

// Thaw lets the processes of a container go on. Idempotent. It waits for a Freeze that was given up, so that nothing of that comes later.
func (r *Runtime) Thaw(id string) error {
	r.freezing.Lock()
	defer r.freezing.Unlock()
	r.mu.Lock()
	c, err := r.container(id)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return c.group.Thaw()
}

func (r *Runtime) forFreezing(id string) (*Container, []*Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return nil, nil, err
	}
	var processes []*Process
	for _, p := range c.processes {
		if p != c.init && p.running() != nil {
			return nil, nil, &fault.Error{Reason: fault.FailedPrecondition, Op: "freeze container", Subject: id, Cause: fmt.Errorf("process %q runs in it beside the first", p.id)}
		}
		processes = append(processes, p)
	}
	return c, processes, nil
}

func (c *Container) freeze(ctx context.Context, processes []*Process, input stdio.Border, loseConnections bool) error {
	init, err := c.runningInit()
	if err != nil {
		return err
	}
	if err := c.group.Freeze(ctx); err != nil {
		return &fault.Error{Reason: fault.Unavailable, Op: "freeze container", Subject: c.id, Cause: err}
	}
	if !loseConnections {
		open, err := netconf.Connections(filepath.Join("/proc", strconv.Itoa(init.Pid), "net"))
		if err != nil {
			return fmt.Errorf("look for open connections: %w", err)
		}
		if open += c.sockets.Connections(); open > 0 {
			return &fault.Error{Reason: fault.FailedPrecondition, Op: "freeze container", Subject: c.id, Cause: fmt.Errorf("open connections to others: %d, which would be lost", open)}
		}
	}
	var free []<-chan struct{}
	for _, p := range processes {
		free = append(free, p.suspend(input)...)
	}
	for _, f := range free {
		select {
		case <-f:
		case <-ctx.Done():
			for _, p := range processes {
				p.breakStreams()
			}
			return &fault.Error{Reason: fault.Unavailable, Op: "freeze container", Subject: c.id, Cause: errors.New("the host does not take its output, or send its input")}
		}
	}
	return nil
}

// suspend has all streams given back; the results are closed when they are. The border is that of the first process's input; nobody knows another's.
func (p *Process) suspend(input stdio.Border) (free []<-chan struct{}) {
	if p.id != InitProcess {
		input = stdio.Border{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pipes != nil {
		free = append(free, p.pipes.Stdin.Suspend(input), p.pipes.Stdout.Suspend(), p.pipes.Stderr.Suspend())
	}
	if p.terminal != nil {
		free = append(free, p.terminal.Suspend(input))
	}
	return free
}

func (p *Process) breakStreams() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pipes != nil {
		p.pipes.Stdin.Break()
		p.pipes.Stdout.Break()
		p.pipes.Stderr.Break()
	}
	if p.terminal != nil {
		p.terminal.Break()
	}
}
