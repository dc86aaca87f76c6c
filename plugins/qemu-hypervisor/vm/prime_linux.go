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

// prime has the guest of a copy know disks that never change, and takes the copy to be copied in turn. Where it has no disk of somebody, it has a placeholder.
func (h *held) prime(ctx context.Context, server *standby.Holder, lasting []standby.Lasting, disks []*os.File, reads []string) (_ *standby.Primed, err error) {
	ctx, cancel := context.WithTimeout(ctx, primeDeadline)
	defer cancel()
	ctx, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	dir := server.Place.Priming(h.Key)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil { // of an earlier one that was killed
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the next one removes it
	short, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = short.Close() }()
	c := &primed{spec: machine.Standby(h.Spec, dir)}
	c.spec.RuntimeDir = fmt.Sprintf("/proc/self/fd/%d", short.Fd())
	defer func() {
		c.close()
		if err != nil {
			c.end()
		}
	}()
	if err := c.make(server, server.Place.Dir(h.Key), lasting, disks); err != nil {
		return nil, err
	}
	if err := c.start(server); err != nil {
		return nil, err
	}
	go func() {
		select {
		case <-c.p.exited:
			gone(errors.New("its QEMU has ended"))
		case <-ctx.Done():
		}
	}()
	if err := c.p.monitor.Execute(ctx, "cont", nil, nil); err != nil {
		return nil, err
	}
	if err := c.call(ctx, lasting, reads); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("prime the guest: %w", err)
	}
	if err := c.p.quiet(ctx); err != nil {
		return nil, err
	}
	if err := c.p.monitor.Execute(ctx, "stop", nil, nil); err != nil {
		return nil, err
	}
	c.p.unlink()
	again, err := server.Original.Again(c.p.pid, c.ours)
	c.ours = nil // also after an error
	if err != nil {
		return nil, err
	}
	return &standby.Primed{Original: again, Ended: func() {
		c.p.wait()
		_ = c.life.Close() // nothing was written
	}}, nil
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
	conn   net.Conn // to the monitor
	p      *process
	uplink *vsock.Uplink
}

func (c *primed) give(file *os.File) *os.File {
	c.theirs = append(c.theirs, file)
	return file
}

func (c *primed) make(server *standby.Holder, home string, lasting []standby.Lasting, disks []*os.File) (err error) {
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
	for i, l := range lasting {
		last[l.Index] = disks[i]
	}
	for i, disk := range c.spec.Disks {
		if last[i] != nil {
			c.files.Disks = append(c.files.Disks, last[i])
			continue
		}
		if err := placeholder(disk.File.Path, server.Sizes[i]); err != nil {
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
func (c *primed) start(server *standby.Holder) error {
	plan := server.PlanOf(c.files)
	plan.Handover = c.hand
	pid, err := server.Original.Copy(plan)
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
func (c *primed) call(ctx context.Context, lasting []standby.Lasting, reads []string) error {
	conn, err := c.uplink.Dial(ctx, agentPort)
	if err != nil {
		return err
	}
	request := &guestv1.PrimeRequest{Reads: reads}
	for _, l := range lasting {
		request.Lower = append(request.Lower, &guestv1.Disk{Serial: l.Serial, FileSystem: l.FileSystem})
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
