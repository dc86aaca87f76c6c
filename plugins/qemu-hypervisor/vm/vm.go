package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vsock"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// VM is one virtual machine. Calls that change it follow one another; reading it and waiting for it go on meanwhile.
type VM struct {
	requestID string
	spec      hypervisor.Spec
	binary    string
	host      machine.Host
	uplink    *vsock.Uplink
	server    *vsock.Server
	own       *os.File // a directory that is this VM's alone while it is open
	log       hclog.Logger
	hint      string // for whom the VM does not start

	turn chan struct{} // held by the call that changes the VM

	mu      sync.Mutex
	state   hypervisor.State
	exit    *hypervisor.Exit
	process *process // in states running and paused
	cloned  bool
	deleted bool
	changed chan struct{} // closed at the next change
}

// newVM makes the socket that can be connected to before the VM runs.
func newVM(ctx context.Context, requestID string, spec hypervisor.Spec, binary string, host machine.Host, log hclog.Logger) (*VM, error) {
	v := &VM{
		requestID: requestID, spec: spec, binary: binary, host: host, uplink: vsock.NewUplink(), log: log,
		turn: make(chan struct{}, 1), state: hypervisor.Created, changed: make(chan struct{}),
	}
	// Not the runtime directory, if it can be helped: its caller may have made it anew at the same path while the VM before is still about to remove its sockets there.
	own, err := ownDirectory(ctx, cmp.Or(spec.StateDir, spec.RuntimeDir))
	if err != nil {
		return nil, v.fault("create VM", fault.Unavailable, err)
	}
	path := machine.VsockPath(spec)
	if err := removeSocket(path); err != nil {
		_ = own.Close()
		return nil, v.fault("create VM", fault.Invalid, err)
	}
	server, err := vsock.Listen(path, v.uplink)
	if err != nil {
		_ = own.Close()
		return nil, v.fault("create VM", fault.Unavailable, err)
	}
	v.server, v.own = server, own
	return v, nil
}

func (v *VM) fault(op string, reason fault.Reason, cause error) error {
	return &fault.Error{Reason: reason, Op: op, Subject: v.spec.ID, Cause: cause}
}

func (v *VM) snapshot() hypervisor.VM {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.locked()
}

func (v *VM) locked() hypervisor.VM {
	out := hypervisor.VM{ID: v.spec.ID, State: v.state, VsockPath: machine.VsockPath(v.spec), Accelerator: v.host.Accelerator, Cloned: v.cloned}
	if v.process != nil {
		out.PID = int64(v.process.pid)
	}
	if v.exit != nil && v.state == hypervisor.Stopped {
		exit := *v.exit
		out.Exit = &exit
	}
	return out
}

// set changes what watchers see.
func (v *VM) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
	close(v.changed)
	v.changed = make(chan struct{})
}

// take waits for the VM's turn.
func (v *VM) take(ctx context.Context, op string) (release func(), err error) {
	select {
	case v.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, v.fault(op, fault.Unavailable, ctx.Err())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.deleted {
		<-v.turn
		return nil, v.fault(op, fault.NotFound, nil)
	}
	return func() { <-v.turn }, nil
}

func (v *VM) start(ctx context.Context) error {
	release, err := v.take(ctx, "start VM")
	if err != nil {
		return err
	}
	defer release()
	before := v.snapshot().State
	if before != hypervisor.Created && before != hypervisor.Stopped {
		return v.fault("start VM", fault.FailedPrecondition, fmt.Errorf("it is %s", before))
	}
	v.set(func() { v.state = hypervisor.Starting })
	p, cloned, err := v.bring(ctx)
	if err != nil {
		v.set(func() { v.state = before })
		return &fault.Error{Reason: fault.Unavailable, Op: "start VM", Subject: v.spec.ID, Cause: err, Hint: v.hint}
	}
	v.begun(p, hypervisor.Running, cloned)
	return nil
}

// begun makes a process the VM's, until it ends.
func (v *VM) begun(p *process, state hypervisor.State, cloned bool) {
	v.set(func() { v.state, v.process, v.cloned = state, p, cloned })
	go func() { // ends with the process, which ends with the VM
		exit := p.wait()
		v.doubt(p, exit)
		v.set(func() { v.state, v.exit, v.process = hypervisor.Stopped, &exit, nil })
		close(p.forgotten)
	}()
}

// bring clones the VM from a template, or boots it.
func (v *VM) bring(ctx context.Context) (p *process, cloned bool, err error) {
	shape := ""
	if canFork(v.spec, v.host) {
		if shape, err = v.standbyKey(); err == nil {
			p, err = v.fork(ctx, shape)
		}
		if err != nil && ctx.Err() == nil {
			v.log.Warn("the VM is not forked from one that stands by", "error", err)
		}
		if p != nil {
			return p, true, nil
		}
	}
	if canClone(v.spec, v.host) {
		p, err := v.clone(ctx, shape)
		if err != nil && ctx.Err() == nil {
			v.log.Warn("the VM boots, as it could not be cloned", "error", err)
		}
		if p != nil {
			return p, true, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	p, err = startProcess(ctx, v.spec, v.binary, v.host, birth{}, v.uplink, v.server.Incoming)
	return p, false, err
}

// clone returns no process if there is no template. shape is that of a VM which could stand by; "" for none.
func (v *VM) clone(ctx context.Context, shape string) (*process, error) {
	key, err := v.templateKey()
	if err != nil {
		return nil, err
	}
	t, was, err := v.template(ctx, key)
	if t == nil {
		return nil, err
	}
	defer t.Close()
	from := birth{memory: t.Memory, state: t.State, console: t.Console, disks: t.Disks, sizes: t.Sizes}
	p, err := startProcess(ctx, v.spec, v.binary, v.host, from, v.uplink, v.server.Incoming)
	if errors.Is(err, errDescriptors) {
		v.log.Warn("blocks that the guest discards are not given back", "error", err)
		from.disks, from.console = nil, nil // its console's text is there already
		p, err = startProcess(ctx, v.spec, v.binary, v.host, from, v.uplink, v.server.Incoming)
	}
	if err == nil {
		p.template = key
	}
	if err == nil && was && shape != "" { // it is not the only start of its kind
		v.standsBy(shape)
	}
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, gone(v.templates().Remove(key))) // or it would fail every start
	}
	return p, err
}

// kill ends the VM as pulling the plug does.
func (v *VM) kill(ctx context.Context) error {
	release, err := v.take(ctx, "stop VM")
	if err != nil {
		return err
	}
	defer release()
	return v.end(ctx)
}

// end kills the process, if there is one, and waits until the state says so.
func (v *VM) end(ctx context.Context) error {
	v.mu.Lock()
	p := v.process
	v.mu.Unlock()
	if p == nil {
		return nil
	}
	p.kill()
	select {
	case <-p.forgotten:
		return nil
	case <-ctx.Done():
		return v.fault("stop VM", fault.Unavailable, fmt.Errorf("QEMU (pid %d) does not die: %w", p.pid, ctx.Err()))
	}
}

// awaitStopped returns when the VM does not run any more. It takes no turn, so that a kill can overtake it.
func (v *VM) awaitStopped(ctx context.Context) error {
	for {
		v.mu.Lock()
		state, deleted, changed := v.state, v.deleted, v.changed
		v.mu.Unlock()
		if deleted || state == hypervisor.Created || state == hypervisor.Stopped {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return v.fault("await the end of VM", fault.Unavailable, fmt.Errorf("the guest has not powered off: %w", ctx.Err()))
		}
	}
}

func (v *VM) pause(ctx context.Context) error {
	return v.command(ctx, "pause VM", hypervisor.Paused, func(p *process) error { return p.monitor.Execute(ctx, "stop", nil, nil) })
}

func (v *VM) resume(ctx context.Context) error {
	return v.command(ctx, "resume VM", hypervisor.Running, func(p *process) error { return p.cont(ctx) })
}

// command brings a VM that has a process into another state, unless it is in it.
func (v *VM) command(ctx context.Context, op string, state hypervisor.State, do func(*process) error) error {
	release, err := v.take(ctx, op)
	if err != nil {
		return err
	}
	defer release()
	v.mu.Lock()
	p, now := v.process, v.state
	v.mu.Unlock()
	if p == nil {
		return v.fault(op, fault.FailedPrecondition, fmt.Errorf("it is %s", now))
	}
	if now == state {
		return nil
	}
	if err := do(p); err != nil {
		return v.fault(op, fault.Unavailable, err)
	}
	v.change(p, state)
	return nil
}

func (v *VM) delete(ctx context.Context) error {
	release, err := v.take(ctx, "delete VM")
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	if err := v.end(ctx); err != nil {
		return err
	}
	err = errors.Join(v.server.Close(), unshare(v.spec))
	for _, path := range ownSockets(v.spec) {
		err = errors.Join(err, removeSocket(path))
	}
	_ = v.own.Close() // the next may have it
	v.set(func() { v.deleted = true })
	if err != nil {
		return v.fault("delete VM", fault.Internal, err)
	}
	return nil
}

// watch gives the present state, and then the latest after each change.
func (v *VM) watch(ctx context.Context, event func(hypervisor.VM)) error {
	for {
		v.mu.Lock()
		now, deleted, changed := v.locked(), v.deleted, v.changed
		v.mu.Unlock()
		if deleted {
			return nil
		}
		event(now)
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ownSockets are those QEMU and we make besides the vsock path, which its server removes.
func ownSockets(s hypervisor.Spec) []string {
	paths := []string{machine.MuxPath(s)}
	for _, nic := range s.NICs {
		paths = append(paths, nic.Link.UnixDatagram.VMPath)
	}
	return paths
}

// removeSocket removes what an earlier run may have left at a path, but only if it is a socket.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is in the way, and not a socket", path)
	}
	return os.Remove(path)
}
