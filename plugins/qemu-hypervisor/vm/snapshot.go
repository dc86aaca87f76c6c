package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/snapshot"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/progress"
)

// A snapshot is taken of a VM whose guest waits for its host, as a template is, so that nothing is on its way between them: the session with the guest is ended first. Unlike a
// template's, its state has the memory, too: that of a clone is in no file of its own.

const (
	// closePatience is how long a guest may take to notice that its host is gone. One that has no session has nothing to notice.
	closePatience = 3 * time.Second
	// waitPatience is how long it may take to wait for the next.
	waitPatience = 20 * time.Second
	// goOnTimeout bounds letting a VM go on that could not be saved, whatever has become of the call.
	goOnTimeout = 20 * time.Second
)

// pollEvery is the pause between two questions to QEMU that has no event for the answer, or tells of it late.
const pollEvery = 2 * time.Millisecond

// save writes a snapshot. After an error the VM goes on as before.
func (v *VM) save(ctx context.Context, dir string, report progress.Func) (size int64, err error) {
	const op = "take a snapshot of VM"
	release, err := v.take(ctx, op)
	if err != nil {
		return 0, err
	}
	defer release()
	v.mu.Lock()
	p, now := v.process, v.state
	v.mu.Unlock()
	if p == nil || now != hypervisor.Running {
		return 0, v.fault(op, fault.FailedPrecondition, fmt.Errorf("it is %s", now))
	}
	if err := v.savable(op); err != nil {
		return 0, err
	}
	about, err := v.identity()
	if err != nil {
		return 0, v.fault(op, fault.Unavailable, err)
	}
	about.NamedMemory = p.named
	if size, err = p.saveState(ctx, dir, about, report); err == nil {
		v.change(p, hypervisor.Paused)
		return size, nil
	}
	if goErr := p.goOn(ctx); goErr != nil {
		err = errors.Join(err, goErr)
	}
	reason := fault.Unavailable
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		reason = fault.NoSpace
	}
	return 0, v.fault(op, reason, err)
}

// savable refuses a VM with a device whose state another process has.
func (v *VM) savable(op string) error {
	if !machine.ByVirtioFS(v.spec) {
		return nil
	}
	return v.fault(op, fault.Unsupported, errors.New("it has a directory of the host by virtiofs, whose state QEMU cannot save"))
}

// change sets the state of the VM, unless it has ended meanwhile.
func (v *VM) change(p *process, state hypervisor.State) {
	v.set(func() {
		if v.process == p {
			v.state = state
		}
	})
}

// identity is all that has to be the same where the VM is restored.
func (v *VM) identity() (about snapshot.Machine, err error) {
	for _, f := range []struct {
		path string
		to   *snapshot.File
	}{{v.binary, &about.QEMU}, {v.spec.Kernel.Path, &about.Kernel}, {v.spec.InitrdPath, &about.Initrd}} {
		if *f.to, err = snapshot.Fingerprint(f.path); err != nil {
			return about, err
		}
	}
	about.Accelerator, about.TSCKilohertz = v.host.Accelerator, v.host.TSCKilohertz
	if v.host.Accelerator != machine.TCG {
		if about.CPU, err = hostCPU("/proc/cpuinfo"); err != nil {
			return about, err
		}
	}
	host := v.host
	host.TSCKilohertz = 0 // measured anew at each boot of the host; it counts for itself
	about.Shape = machine.Shape(v.spec, host)
	return about, nil
}

// saveState leaves QEMU stopped, also after an error.
func (p *process) saveState(ctx context.Context, dir string, about snapshot.Machine, report progress.Func) (int64, error) {
	if err := p.quiet(ctx); err != nil {
		return 0, err
	}
	if err := p.monitor.Execute(ctx, "stop", nil, nil); err != nil {
		return 0, err
	}
	from, to, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	type saved struct {
		size int64
		err  error
	}
	written := make(chan saved, 1)
	go func() { // ends with the pipe, of which QEMU has the other end until it is done
		size, err := snapshot.Save(dir, about, from, func(bytes int64) {
			report.Report(progress.Update{Step: "save the memory", Item: "memory", Done: bytes, Unit: progress.Bytes})
		})
		written <- saved{size, errors.Join(err, from.Close())}
	}()
	err = p.writeState(ctx, to, whole)
	if err != nil {
		_ = p.monitor.Execute(context.WithoutCancel(ctx), "migrate_cancel", nil, nil) // a QEMU that is gone writes no more
	}
	_ = to.Close()
	if err != nil {
		// QEMU may hold its end for as long as it likes.
		_ = from.SetReadDeadline(time.Unix(1, 0))
	}
	done := <-written
	switch {
	case err == nil && done.err == nil:
		return done.size, nil
	case done.err != nil && ctx.Err() == nil: // it is why QEMU could not write
		return 0, done.err
	}
	return 0, errors.Join(err, snapshot.Discard(dir))
}

// quiet ends the session with the guest, and returns when the guest waits for the next, which it does not get until the gate is opened.
func (p *process) quiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, waitPatience)
	defer cancel()
	for _, earlier := range []chan struct{}{p.portOpened, p.portClosed} {
		select {
		case <-earlier:
		default:
		}
	}
	if p.gate.shut() {
		patience := time.NewTimer(closePatience)
		defer patience.Stop()
		select {
		case <-p.portClosed:
		case <-p.portOpened: // again: QEMU tells of one change in a second, and then of the last
		case <-patience.C:
		case <-p.exited:
		case <-ctx.Done():
		}
	}
	for {
		open, err := p.portOpen(ctx)
		if open {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the guest does not wait for its host: %w", err)
		}
		select { // QEMU would tell, but a second late
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

// portOpen reports whether the guest has its serial port open.
func (p *process) portOpen(ctx context.Context) (bool, error) {
	var ends []struct {
		Label string `json:"label"`
		Open  bool   `json:"frontend-open"`
	}
	if err := p.monitor.Execute(ctx, "query-chardev", nil, &ends); err != nil {
		return false, err
	}
	for _, e := range ends {
		if e.Label == machine.MuxID {
			return e.Open, nil
		}
	}
	return false, errors.New("QEMU knows no such port")
}

// goOn lets a VM go on that was stopped, or not, to be saved.
func (p *process) goOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goOnTimeout)
	defer cancel()
	if err := p.cont(ctx); err != nil {
		return fmt.Errorf("the VM does not go on: %w", err)
	}
	return nil
}

// cont lets the CPUs run, and the host speak to the guest.
func (p *process) cont(ctx context.Context) error {
	for {
		var status struct {
			Status string `json:"status"`
		}
		if err := p.monitor.Execute(ctx, "query-status", nil, &status); err != nil {
			return err
		}
		if status.Status != "finish-migrate" { // it has told of the end of a migration a moment before
			break
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
	if err := p.monitor.Execute(ctx, "cont", nil, nil); err != nil {
		return err
	}
	p.gate.open()
	return nil
}

// restore brings a VM that was just created to where the snapshot was taken; it is paused then.
func (v *VM) restore(ctx context.Context, dir string) error {
	const op = "restore VM"
	release, err := v.take(ctx, op)
	if err != nil {
		return err
	}
	defer release()
	switch now := v.snapshot().State; now {
	case hypervisor.Created:
	case hypervisor.Paused:
		return nil // the same request before
	default:
		return v.fault(op, fault.FailedPrecondition, fmt.Errorf("it is %s", now))
	}
	if err := v.savable(op); err != nil {
		return err
	}
	about, err := v.identity()
	if err != nil {
		return v.fault(op, fault.Unavailable, err)
	}
	state, named, err := snapshot.Open(ctx, dir, about)
	if err != nil {
		return v.unfit(op, err)
	}
	defer func() { _ = state.Close() }()
	v.set(func() { v.state = hypervisor.Starting })
	p, err := startProcess(ctx, v.spec, v.binary, v.host, birth{state: state, paused: true, named: named}, v.uplink, v.server.Incoming)
	if err != nil {
		v.set(func() { v.state = hypervisor.Created })
		return &fault.Error{Reason: fault.Unavailable, Op: op, Subject: v.spec.ID, Cause: err, Hint: v.hint}
	}
	v.begun(p, hypervisor.Paused, false)
	return nil
}

// unfit says why a snapshot is not restored.
func (v *VM) unfit(op string, err error) error {
	reason := fault.Unavailable
	if _, different := errors.AsType[*snapshot.DifferentError](err); different || errors.Is(err, snapshot.ErrDamaged) {
		reason = fault.FailedPrecondition
	}
	return v.fault(op, reason, err)
}
