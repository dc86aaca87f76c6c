package serialmux

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/nonblock"
)

// Sender sends what comes out of a pipe without this process touching a byte of it: the kernel moves pages from the pipe to the port. Through Write, an emulated
// guest spends twice the time on a byte, for copies and for the goroutines on its way.
//
// It waits in the port, where no deadline holds, while the host does not read that. So it is for a guest, which has nothing to do without its host.
type Sender struct {
	conn *Conn
	port syscall.RawConn
	r, w int // a pipe for one frame: what is announced to the peer must be there, and no one else may take it
}

// NewSender returns a sender to a connection. It fails, and changes nothing, where the pipe to the host is none that pages can be moved to.
func (c *Conn) NewSender() (s *Sender, err error) {
	port, ok := c.session.link.pipe.(syscall.Conn)
	if _, without := c.session.link.pipe.(bytewise); without || !ok {
		return nil, fmt.Errorf("serialmux: send pages: %w", errors.ErrUnsupported)
	}
	s = &Sender{conn: c}
	if s.port, err = port.SyscallConn(); err != nil {
		return nil, fmt.Errorf("serialmux: send pages: %w", err)
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("serialmux: send pages: %w", err)
	}
	s.r, s.w = fds[0], fds[1]
	if _, err = unix.FcntlInt(uintptr(s.w), unix.F_SETPIPE_SZ, MaxFrame); err == nil {
		err = nonblock.CanSplice(s.port, s.r)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("serialmux: send pages: %w", err)
	}
	return s, nil
}

// Close gives the pipe up, with what is left in it. The connection stays.
func (s *Sender) Close() {
	_ = unix.Close(s.r)
	_ = unix.Close(s.w)
}

// Send moves to the other end what there is in the pipe that from is of, at most a frame, and waits until there is something and the other end has room for it. n is
// 0 at the pipe's end. read tells that an error is that of the pipe, as with nonblock.Fill; after another one, Left has what was taken and not sent.
func (s *Sender) Send(from syscall.RawConn) (n int, read bool, err error) {
	link, state := s.conn.session.link, s.conn.state
	room, err := s.conn.reserve(MaxFrame)
	if err != nil {
		return 0, false, s.conn.wrap("write", err)
	}
	n, err = nonblock.Fill(s.w, from, room)
	link.giveBack(state, room-n)
	if n == 0 || err != nil {
		return 0, true, err
	}
	if err := link.writePages(s.port, state, s.conn.stream.StreamID(), s.r, n); err != nil {
		return 0, false, s.conn.wrap("write", err)
	}
	return n, false, nil
}

// Left empties the pipe.
func (s *Sender) Left() []byte {
	left := make([]byte, MaxFrame)
	n := 0
	for n < len(left) {
		more, err := unix.Read(s.r, left[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || more == 0 { // empty
			break
		}
		n += more
	}
	return left[:n]
}

// writePages writes a frame whose body is all that a pipe holds, n bytes. What is queued goes before it.
func (l *link) writePages(to syscall.RawConn, state *streamState, stream uint32, from, n int) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.writeBatch(l.pipe.Write); err != nil {
		return err
	}
	l.mu.Lock()
	err := l.unfit(state) // the peer knows nothing of a stream that was reset meanwhile
	l.mu.Unlock()
	if err != nil {
		return err
	}
	h := dataFrame(stream, n)
	if _, err = l.pipe.Write(h[:]); err == nil {
		err = nonblock.Splice(to, from, n)
	}
	if err != nil {
		return l.failWrite(err)
	}
	return nil
}
