package engine

import (
	"context"
	"errors"
	"sync"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
)

// prepared is what a container that is started next has already: its lock, which Create has not let go of, and the process of its supervisor, which waits. Both end
// with this process, whatever ends it.
type prepared struct {
	held       *lock.Lock
	supervisor *supervisor.Prepared
}

// close lets go of a container that is not started after all.
func (p *prepared) close(ctx context.Context) error {
	return errors.Join(p.supervisor.Close(ctx), p.held.Close())
}

// keepPrepared keeps it for the next verb on the container.
func (e *Engine) keepPrepared(id string, p *prepared) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.prepared == nil {
		e.prepared = map[string]*prepared{}
	}
	e.prepared[id] = p
}

// takePrepared returns what is kept for a container; nil: nothing.
func (e *Engine) takePrepared(id string) *prepared {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.prepared[id]
	delete(e.prepared, id)
	return p
}

// Close lets go of containers that were created to be started next, and were not: they stay created. All else of an engine needs no closing.
func (e *Engine) Close() error {
	e.mu.Lock()
	all := e.prepared
	e.prepared = nil
	e.mu.Unlock()
	var err error
	for _, p := range all {
		err = errors.Join(err, p.close(context.Background()))
	}
	return err
}

// surroundings returns what a supervisor from the reserve has to have in common with one that is made for a request, once they are known.
func (e *Engine) surroundings(r CreateRequest) func() ([]string, error) {
	ask := sync.OnceValues(supervisor.Surroundings)
	if r.StartNext {
		go ask() // it takes half a millisecond
	}
	return ask
}

// takeFromReserve takes a supervisor from the reserve, if there is one, and makes the sandbox of the records the one that it is for. It is nil if none is needed yet.
func (e *Engine) takeFromReserve(r CreateRequest, c *store.Container, b *store.Sandbox, surroundings func() ([]string, error)) *supervisor.Reserve {
	if !r.StartNext {
		return nil
	}
	around, err := surroundings()
	if err != nil {
		return nil // what is wrong with it is told by who makes a supervisor
	}
	reserve := supervisor.TakeFromReserve(e.store, supervisor.Wanted{Program: e.options.Program, Hypervisor: b.Hypervisor, Plugins: e.config.Plugins, Verbose: e.log.IsDebug(),
		Surroundings: around, Keep: e.config.ReserveTime()})
	if id := reserve.SandboxID(); id != "" {
		c.Sandbox, b.ID, b.RuntimeDir = id, id, e.store.Paths().SandboxRun(id)
	}
	return reserve
}
