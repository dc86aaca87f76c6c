package engine

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/netd"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
	"github.com/vzctl/vzctl/core/timeline"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

// supervise records that a container is starting and launches its supervisor; how is lifecycle.Start, or lifecycle.Restore to go on from its checkpoint. The container's lock is returned held: until the start is settled
// it is what tells others that somebody looks after it. apart says that nobody sees the order of what the process writes to its two outputs.
func (e *Engine) supervise(ctx context.Context, ref string, how lifecycle.Event, apart bool) (*supervisor.Client, *lock.Lock, error) {
	id, err := e.store.Resolve(ref)
	if err != nil {
		return nil, nil, err
	}
	var (
		held  *lock.Lock
		ready *supervisor.Prepared
	)
	if p := e.takePrepared(id); p != nil {
		held, ready = p.held, p.supervisor
	} else if held, err = e.lockSettled(ctx, id); err != nil {
		return nil, nil, err
	}
	s, err := e.superviseLocked(ctx, id, how, apart, ready)
	if err != nil {
		if closeErr := held.Close(); closeErr != nil {
			err = errors.Join(err, closeErr)
		}
		return nil, nil, err
	}
	return s, held, nil
}

// lockSettled takes a container's lock. A verb that was killed may have left the record in a state of which only the lock's holder is the keeper; as that is the caller
// now, nobody else could tell any more that it was abandoned.
func (e *Engine) lockSettled(ctx context.Context, id string) (*lock.Lock, error) {
	if p := e.takePrepared(id); p != nil {
		if err := p.close(ctx); err != nil {
			return nil, err
		}
	}
	held, err := e.store.LockContainer(ctx, id)
	if err != nil {
		return nil, err
	}
	c, err := e.store.Get(id)
	if err == nil && c.State == lifecycle.Creating { // a supervisor that was prepared by one who was killed is just ending
		err = lock.AwaitFree(ctx, e.store.Paths().SandboxLife(c.Sandbox))
	}
	if err != nil || c.State != lifecycle.Starting && c.State != lifecycle.Creating {
		return held, nil // what is wrong with the record the verb will say
	}
	if alive, err := e.store.Alive(c.Sandbox); err != nil || alive {
		return held, nil // it has a supervisor
	}
	_, err = e.store.Update(ctx, id, func(c *store.Container) error {
		c.Exit = &store.Exit{Code: 137, Reason: lifecycle.ReasonLost, Message: "the command that was at work on it was killed", Time: time.Now()}
		return c.Advance(lifecycle.Lose)
	})
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return held, nil
}

func (e *Engine) superviseLocked(ctx context.Context, id string, how lifecycle.Event, apart bool, ready *supervisor.Prepared) (_ *supervisor.Client, err error) {
	if ready != nil {
		defer func() { err = errors.Join(err, ready.Close(ctx)) }() // which does nothing once it is launched
	}
	asked := time.Now()
	end := timeline.Begin(ctx, "record start", timeline.Start)
	c, err := e.store.Update(ctx, id, func(c *store.Container) error {
		if err := checkpointAllows(*c, how); err != nil {
			return err
		}
		if err := c.Advance(how); err != nil {
			return err
		}
		c.Desired, c.Exit = store.DesiredRunning, nil
		c.Restart = store.Restart{Policy: c.Restart.Policy}
		c.Run = &store.Run{Asked: asked, Timed: timeline.Recorded(ctx), Apart: apart, Restore: how == lifecycle.Restore}
		return nil
	})
	end()
	if err != nil {
		return nil, err
	}
	end = timeline.Begin(ctx, "launch", timeline.Start)
	s, err := e.launch(ctx, c, ready)
	end()
	if err == nil {
		return s, nil
	}
	_, updateErr := e.store.Update(context.WithoutCancel(ctx), id, func(c *store.Container) error {
		c.Exit = &store.Exit{Code: 125, Reason: lifecycle.ReasonFailedToStart, Message: err.Error(), Time: time.Now()}
		return c.Advance(lifecycle.Fail)
	})
	if updateErr != nil {
		err = errors.Join(err, updateErr)
	}
	return nil, err
}

// launch lets the supervisor of a container begin, with the process that is ready or, if that is nil, with a new one.
func (e *Engine) launch(ctx context.Context, c store.Container, ready *supervisor.Prepared) (*supervisor.Client, error) {
	if ready != nil && !ready.Ready() {
		ready = nil
	}
	if ready == nil {
		// A supervisor before, that was killed, may have left sockets; one that is just leaving is waited for.
		if err := lock.AwaitFree(ctx, e.store.Paths().SandboxLife(c.Sandbox)); err != nil {
			return nil, err
		}
	}
	b, err := e.store.GetSandbox(c.Sandbox)
	if err != nil {
		return nil, err
	}
	if c.SSH {
		if _, err := supervisor.SSHAgent(); err != nil {
			return nil, err
		}
	}
	if b.Network != "" {
		if err := e.prepareNetwork(ctx, b); err != nil {
			return nil, err
		}
	}
	if ready == nil {
		if ready, err = supervisor.Prepare(ctx, e.store, e.options.Program, b.ID, e.log.IsDebug(), nil); err != nil {
			return nil, err
		}
	}
	return ready.Launch(c.ID)
}

// prepareNetwork writes what the network's daemon will read, should it have to be started.
func (e *Engine) prepareNetwork(ctx context.Context, b store.Sandbox) error {
	config, err := e.networkConfig(b.Network)
	if err != nil {
		return err
	}
	plugin, err := e.host.Find(ctx, sdk.Network, b.NetworkPlugin)
	if err != nil {
		return err
	}
	paths := e.store.Paths()
	for _, dir := range []string{paths.Network(b.Network), paths.NetworkState(b.Network)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	pins := e.config.Plugins.SHA256
	return store.KeepJSON(paths.NetworkRecord(b.Network),
		netd.Record{Plugin: plugin.Path, SHA256: firstNonEmpty(pins[plugin.Path], pins[plugin.Name]), Config: config})
}

// networkConfig returns how a network is made, from config.toml. The default network needs no word there.
func (e *Engine) networkConfig(name string) (network.Config, error) {
	n, known := e.config.Networks[name]
	if !known && name != DefaultNetwork {
		return network.Config{}, &fault.Error{Reason: fault.NotFound, Op: "use network", Subject: name,
			Cause: errors.New("there is no such network"), Hint: "vzctl network ls shows all; config.toml adds others"}
	}
	return network.Config{Name: name, SubnetV4: n.SubnetV4, SubnetV6: n.SubnetV6, GatewayV4: n.GatewayV4, GatewayV6: n.GatewayV6,
		MTU: n.MTU, Internal: n.Internal, AllowHostLoopback: n.AllowHostLoopback, AllowLAN: n.AllowLAN, Options: n.Options}, nil
}
