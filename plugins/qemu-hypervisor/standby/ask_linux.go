package standby

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/sdk/rendezvous"
)

// Copy is a copy of a VM's QEMU, as who asked for it has it.
type Copy struct {
	PID     int
	Primed  bool    // its guest knows the image
	Sizes   []int64 // of the disks as the guest knows them, in bytes
	Console []byte  // what the guest has said before

	conn   *net.UnixConn
	pidfd  *os.File
	change *os.File // of the fresh disk; nil: none
	how    string
}

// howPatience is how long the holder may take to tell how a copy has ended. One that is gone tells nothing.
const howPatience = time.Second

// askPatience bounds a copy, and those of others before: who does not get one can do without.
const askPatience = 10 * time.Second

// Ready says whether somebody may be there to be asked.
func (p Place) Ready(key string) bool {
	_, err := os.Lstat(filepath.Join(p.Dir(key), socketName))
	return err == nil
}

// Ask has a copy made of the VM of a shape. It is ErrNone if there is none.
func (p Place) Ask(ctx context.Context, key, name string, files Files) (*Copy, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	conn, err := rendezvous.Dial(p.Dir(key), socketName)
	if err != nil {
		return nil, ErrNone // whoever was there is gone, or about to
	}
	if err := ours(conn); err != nil { // it gets the disks
		_ = conn.Close()
		return nil, fmt.Errorf("fork a VM: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c, err := ask(conn, name, files)
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("fork a VM: %w", err)
	}
	return c, nil
}

func ask(conn *net.UnixConn, name string, files Files) (*Copy, error) {
	r := request{Version: version, Name: name, Disks: len(files.Disks), Links: len(files.Links), Shares: len(files.Shares), Console: files.Console != nil, Lasting: files.Lasting, Reads: files.Reads, Fresh: files.Fresh}
	if err := rendezvous.Send(conn, r, files.list()); err != nil {
		return nil, err
	}
	var m made
	received, err := rendezvous.Receive(conn, &m)
	switch {
	case err != nil:
	case m.Version != version:
		err = fmt.Errorf("the holder speaks version %d", m.Version)
	case m.Error != "":
		err = errors.New(m.Error)
	case m.PID <= 0 || !m.Changes && len(received) != 1 || m.Changes && (len(received) != 2 || files.Fresh == nil):
		err = errors.New("the answer has no process")
	}
	if err != nil {
		rendezvous.CloseAll(received)
		return nil, err
	}
	c := &Copy{PID: m.PID, Primed: m.Primed, Sizes: m.Sizes, Console: m.Console, conn: conn, pidfd: received[0]}
	if m.Changes {
		c.change = received[1]
	}
	return c, nil
}

// Settle makes the disks what the copy's guest takes them for, which does not run yet: they are locked for it. Without it, or after an error, the guest must not run.
func (c *Copy) Settle(files Files) error {
	if c.change == nil {
		return nil
	}
	change, err := readChange(c.change)
	if err := errors.Join(err, c.change.Close()); err != nil {
		return err
	}
	c.change = nil
	return change.make(files.Disks[files.Fresh.Index])
}

// Kill ends the copy. It fails only if it has ended.
func (c *Copy) Kill() error {
	raw, err := c.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) }) // an error if it is closed
	return errors.Join(err, failed)
}

// Wait returns when the copy has ended. It is called once.
func (c *Copy) Wait() {
	poll := []unix.PollFd{{Fd: int32(c.pidfd.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	var e ended
	if err := c.conn.SetDeadline(time.Now().Add(howPatience)); err == nil {
		if files, err := rendezvous.Receive(c.conn, &e); err == nil {
			c.how = e.How
		} else {
			rendezvous.CloseAll(files)
		}
	}
	_ = c.conn.Close()
}

// Close forgets the copy, which must have ended.
func (c *Copy) Close() error {
	err := c.pidfd.Close()
	if c.change != nil {
		err = errors.Join(err, c.change.Close())
	}
	return err
}

// How the copy ended, after Wait; "" if nobody knows.
func (c *Copy) How() string { return c.how }
