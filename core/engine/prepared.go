package engine

import (
	"context"
	"errors"

	"github.com/vzctl/vzctl/core/lock"
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
