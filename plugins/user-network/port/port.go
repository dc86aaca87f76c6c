// Package port is the network's end of a unix-datagram link: one Ethernet frame a datagram. It binds its own path and sends to the VM's. Either
// end may go and come back: nothing is connected.
//
// Sending never waits: frames that the VM does not take at once are queued up to a bound, and then dropped, so that a VM that has stopped
// harms only itself. What a frame holds is not looked at.
package port

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What waits for one VM at most.
const (
	queueFrames = 512
	queueBytes  = 4 << 20
)

// A VM that takes nothing for this long loses what is queued. It is looked at again at each step, because the kernel reports room only when one of
// our own datagrams was read, and what fills the VM's queue may be another process's.
const (
	stuckStep  = 50 * time.Millisecond
	stuckSteps = 20
)

// Port is one end of a link.
type Port struct {
	path string
	conn *net.UnixConn
	raw  syscall.RawConn
	vm   unix.SockaddrUnix
	ino  os.FileInfo // of the bound socket

	dropped atomic.Uint64

	mu      sync.Mutex
	queue   [][]byte
	queued  int // bytes in queue
	sending bool
	closed  bool
	sender  sync.WaitGroup
}

// Open binds path, in place of a socket of ours that a former process left. The VM may bind its path later.
func Open(path, vmPath string) (*Port, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The mode is set before the socket has a name, so that nobody can send in between.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { prepare(int(fd)) })
	}}
	packet, err := config.ListenPacket(context.Background(), "unixgram", path)
	if err != nil {
		return nil, fmt.Errorf("bind %q: %w", path, errors.Unwrap(err))
	}
	conn := packet.(*net.UnixConn)
	p := &Port{path: path, conn: conn, vm: unix.SockaddrUnix{Name: vmPath}}
	if p.raw, err = conn.SyscallConn(); err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err == nil {
		p.ino, err = os.Lstat(path)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("prepare %q: %w", path, err)
	}
	return p, nil
}

// removeStale makes room for a socket. Anything but a socket of this user stays and is an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if info.Mode().Type() != os.ModeSocket || !ok || int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%q exists and is not a socket of this user", path)
	}
	return os.Remove(path)
}

// Receive waits for the next frame. A frame longer than buffer is cut to its length.
func (p *Port) Receive(buffer []byte) (int, error) { return p.conn.Read(buffer) }

// Dropped counts the frames that the VM did not take.
func (p *Port) Dropped() uint64 { return p.dropped.Load() }

// Send gives a frame to the VM or to the queue, or drops it. It keeps no reference to frame.
func (p *Port) Send(frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
	case !p.sending:
		var err error
		if e := p.raw.Control(func(fd uintptr) { err = p.try(int(fd), frame) }); e != nil {
			err = e
		}
		if full(err) {
			p.enqueue(frame)
			p.sending = true
			p.sender.Go(p.drain)
		} else if err != nil {
			p.dropped.Add(1) // there is no VM yet, or no more
		}
	case len(p.queue) >= queueFrames || p.queued+len(frame) > queueBytes:
		p.dropped.Add(1)
	default:
		p.enqueue(frame)
	}
}

func (p *Port) enqueue(frame []byte) {
	p.queue = append(p.queue, bytes.Clone(frame))
	p.queued += len(frame)
}

func (p *Port) try(fd int, frame []byte) error {
	for {
		err := unix.Sendto(fd, frame, unix.MSG_DONTWAIT, &p.vm)
		if err != unix.EINTR {
			return err
		}
	}
}

func full(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS)
}

// drain sends what is queued, until nothing is.
func (p *Port) drain() {
	for {
		p.mu.Lock()
		if len(p.queue) == 0 || p.closed {
			p.forget()
			p.sending = false
			p.mu.Unlock()
			return
		}
		frame := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.queued -= len(frame)
		p.mu.Unlock()

		if err := p.sendWaiting(frame); err != nil {
			p.mu.Lock()
			p.dropped.Add(1)
			p.forget()
			p.mu.Unlock()
		}
	}
}

// forget empties the queue. p.mu is held.
func (p *Port) forget() {
	p.dropped.Add(uint64(len(p.queue)))
	p.queue, p.queued = nil, 0
}

func (p *Port) sendWaiting(frame []byte) error {
	for range stuckSteps {
		_ = p.conn.SetWriteDeadline(time.Now().Add(stuckStep))
		var sent error
		err := p.raw.Write(func(fd uintptr) bool {
			sent = p.try(int(fd), frame)
			return !full(sent)
		})
		if err == nil {
			return sent
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return os.ErrDeadlineExceeded
}

// Close ends Receive and Send and removes the socket, if it is still the one that Open bound.
func (p *Port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	if now, err := os.Lstat(p.path); err == nil && os.SameFile(now, p.ino) {
		_ = os.Remove(p.path)
	}
	err := p.conn.Close()
	p.sender.Wait()
	return err
}
