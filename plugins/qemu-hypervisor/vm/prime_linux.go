package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/unary"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/qmp"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/standby"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vsock"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

const (
	// primeDeadline bounds all of it. Its CPU time is some 100 ms, but the guest's port may be a second late, see quiet.
	primeDeadline = 20 * time.Second
	// agentPort is where a guest's agent is called.
	agentPort = 1024
)

// priming is what a copy is made of that is copied in turn, and what its guest is to know. Where it has no disk of somebody, it has a placeholder.
type priming struct {
	of      *fork.Original
	lasting []standby.Lasting
	disks   []*os.File // in the order of lasting
	layer   *standby.Layer
	request *guestv1.PrimeRequest
}

// prime has the guest of a copy know disks that never change, and takes the copy to be copied in turn.
func (h *held) prime(ctx context.Context, server *standby.Holder, lasting []standby.Lasting, disks []*os.File, reads []string) (*standby.Primed, error) {
	request := &guestv1.PrimeRequest{Reads: reads}
	for _, l := range lasting {
		request.Lower = append(request.Lower, &guestv1.Disk{Serial: l.Serial, FileSystem: l.FileSystem})
	}
	primed, _, err := h.know(ctx, server, priming{of: server.Original, lasting: lasting, disks: disks, request: request})
	return primed, err
}

// mount has the guest of a copy of a primed one mount a layer as well, on a disk of its own.
func (h *held) mount(ctx context.Context, server *standby.Holder, of *standby.Primed, lasting []standby.Lasting, disks []*os.File, layer *standby.Layer) (*standby.Mounted, error) {
	request := &guestv1.PrimeRequest{Upper: &guestv1.Disk{Serial: layer.Serial, FileSystem: layer.FileSystem}}
	primed, file, err := h.know(ctx, server, priming{of: of.Original, lasting: lasting, disks: disks, layer: layer, request: request})
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written by it
	mounted, err := layer.Changed(*primed, file)
	if err != nil {
		primed.Original.Release()
		primed.Ended()
	}
	return mounted, err
}

// know makes the copy, and returns the file of its layer, if it has one, which is the caller's.
func (h *held) know(ctx context.Context, server *standby.Holder, of priming) (_ *standby.Primed, layer *os.File, err error) {
	ctx, cancel := context.WithTimeout(ctx, primeDeadline)
	defer cancel()
	ctx, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	dir := server.Place.Priming(h.Key)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil { // of an earlier one that was killed
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the next one removes it
	short, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = short.Close() }()
	c := &primed{spec: machine.Standby(h.Spec, dir)}
	c.spec.RuntimeDir = fmt.Sprintf("/proc/self/fd/%d", short.Fd())
	defer func() {
		c.close()
		if err != nil {
			c.end()
			if c.layer != nil {
				_ = c.layer.Close() // nobody reads it
			}
		}
	}()
	if err := c.make(server, server.Place.Dir(h.Key), of); err != nil {
		return nil, nil, err
	}
	if err := c.start(server, of.of); err != nil {
		return nil, nil, err
	}
	go func() {
		select {
		case <-c.p.exited:
			gone(errors.New("its QEMU has ended"))
		case <-ctx.Done():
		}
	}()
	if err := c.p.monitor.Execute(ctx, "cont", nil, nil); err != nil {
		return nil, nil, err
	}
	if err := c.call(ctx, of.request); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, fmt.Errorf("prime the guest: %w", err)
	}
	if err := c.p.quiet(ctx); err != nil {
		return nil, nil, err
	}
	if err := c.p.monitor.Execute(ctx, "stop", nil, nil); err != nil {
		return nil, nil, err
	}
	c.p.unlink()
	again, err := of.of.Again(c.p.pid, c.ours)
	c.ours = nil // also after an error
	if err != nil {
		return nil, nil, err
	}
	return &standby.Primed{Original: again, Ended: func() {
		c.p.wait()
		_ = c.life.Close() // nothing was written
	}}, c.layer, nil
}

// primed is a copy that is primed.
type primed struct {
	spec   hypervisor.Spec
	files  standby.Files
	theirs []*os.File
	peers  []io.Closer // kept until the copy stands still: it would note for good that one has ended
	ours   *os.File    // of the handover
	hand   *os.File
	life   *os.File
	layer  *os.File // nil: it has none
	conn   net.Conn // to the monitor
	p      *process
	uplink *vsock.Uplink
}

func (c *primed) give(file *os.File) *os.File {
	c.theirs = append(c.theirs, file)
	return file
}

func (c *primed) make(server *standby.Holder, home string, of priming) (err error) {
	var end *os.File
	if c.conn, end, err = socketPair(); err != nil {
		return err
	}
	if c.files.Monitor, err = unblocked(c.give(end)); err != nil {
		return err
	}
	if end, err = listenFile(machine.MuxPath(c.spec)); err != nil {
		return err
	}
	if c.files.Mux, err = unblocked(c.give(end)); err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	c.files.Stderr = c.give(null)
	if end, c.life, err = os.Pipe(); err != nil {
		return err
	}
	c.files.Life = c.give(end)
	if server.Descriptors.Console >= 0 {
		said, end, err := socketPair()
		if err != nil {
			return err
		}
		if c.files.Console, err = unblocked(c.give(end)); err != nil {
			return err
		}
		c.peers = append(c.peers, said)
		go func() { _, _ = io.Copy(io.Discard, said) }() // until it is closed
	}
	last := map[int]*os.File{}
	for i, l := range of.lasting {
		last[l.Index] = of.disks[i]
	}
	for i, disk := range c.spec.Disks {
		if last[i] != nil {
			c.files.Disks = append(c.files.Disks, last[i])
			continue
		}
		if of.layer != nil && i == of.layer.Index {
			if c.layer, err = os.OpenFile(disk.File.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
				err = of.layer.Write(c.layer)
			}
		} else {
			err = placeholder(disk.File.Path, server.Sizes[i])
		}
		if err != nil {
			return err
		}
		mode := os.O_RDWR
		if disk.ReadOnly {
			mode = os.O_RDONLY
		}
		file, err := os.OpenFile(disk.File.Path, mode, 0)
		if err != nil {
			return err
		}
		c.files.Disks = append(c.files.Disks, c.give(file))
	}
	for i := range c.spec.Shares {
		file, err := os.OpenFile(machine.Standby(c.spec, home).Shares[i].Path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		c.files.Shares = append(c.files.Shares, c.give(file))
	}
	for range c.spec.NICs {
		peer, end, err := handoverSockets()
		if err != nil {
			return err
		}
		c.peers = append(c.peers, peer)
		c.files.Links = append(c.files.Links, c.give(end))
	}
	c.ours, end, err = handoverSockets()
	c.hand = c.give(end)
	return err
}

// start makes the copy, whose CPUs do not run yet.
func (c *primed) start(server *standby.Holder, of *fork.Original) error {
	plan := server.PlanOf(c.files)
	plan.Handover = c.hand
	pid, err := of.Copy(plan)
	if err != nil {
		return err
	}
	c.release() // or what QEMU has would not end with it
	child, err := os.FindProcess(pid)
	if err != nil {
		return errors.Join(err, unix.Kill(pid, unix.SIGKILL)) // nobody has waited for it
	}
	p := newProcess(birth{standby: &standbyFiles{}})
	p.pid, p.kills = pid, child.Kill
	c.p = p
	go func() {
		awaitExit(pid)
		_, _ = child.Wait() // how does not matter
		close(p.exited)
	}()
	p.monitor = qmp.Attach(c.conn, p.event)
	c.conn = nil
	close(p.greeted)
	uplink := vsock.NewUplink()
	p.link(c.spec, uplink, nil)
	c.uplink = uplink
	return nil
}

// call asks the guest for it.
func (c *primed) call(ctx context.Context, request *guestv1.PrimeRequest) error {
	conn, err := c.uplink.Dial(ctx, agentPort)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return errors.Join(unary.Call(conn, primeDeadline, guestv1.Agent_Prime_FullMethodName, request), conn.Close())
}

// release closes what is the copy's. Idempotent.
func (c *primed) release() {
	for _, file := range c.theirs {
		_ = file.Close()
	}
	c.theirs = nil
}

// close closes what is not needed once the copy stands still.
func (c *primed) close() {
	c.release()
	for _, peer := range c.peers {
		_ = peer.Close()
	}
	if c.ours != nil {
		_ = c.ours.Close()
	}
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// end kills the copy, if there is one.
func (c *primed) end() {
	if c.p != nil {
		c.p.kill()
		c.p.wait()
	}
	if c.life != nil {
		_ = c.life.Close()
	}
}
