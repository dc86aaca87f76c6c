package stdio

import (
	"io"
	"os"
	"time"

	"github.com/vzctl/vzctl/guest/nonblock"
	"github.com/vzctl/vzctl/guest/serialmux"
)

// Output is what a process writes.
type Output struct {
	claim
	file *os.File
	left []byte // read, but not taken by a connection that was lost; of the claim's holder

	grace        time.Duration // since the process has ended, see Linger; of the claim's lock
	passed, owed int64         // bytes read so far, and when it is enough after that; of the claim's holder
}

// NewOutput owns the near end of a pipe or terminal from now on.
func NewOutput(file *os.File) *Output { return &Output{file: file} }

// Claim makes the stream conn's.
func (o *Output) Claim(conn Conn) error {
	return o.take(conn, o.beginReading)
}

// Suspend has the connection give the stream back: the host gets what was read of the process, or the next connection does, and then a half-close. The
// result is closed when the stream is free.
func (o *Output) Suspend() <-chan struct{} {
	return o.suspend(o.interrupt)
}

func (o *Output) interrupt(conn Conn) {
	_ = o.file.SetReadDeadline(past)
	_ = conn.SetWriteDeadline(past)
}

// Serve moves bytes to conn until the process has closed its end, which conn is told by a half-close, or conn is lost; then another may take the
// stream, with the first byte that this one did not take. It does not close conn.
func (o *Output) Serve(conn Conn) {
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		// The host sends nothing; this ends when it goes.
		if _, err := io.Copy(io.Discard, conn); err != nil {
			_ = o.file.SetReadDeadline(past) // a file closed meanwhile needs no waking
		}
	}()
	ended := o.copy(conn)
	if ended || o.isSuspended() {
		_ = conn.CloseWrite() // the host is gone, or hears it
	}
	_ = conn.SetReadDeadline(past)
	<-lost
	_ = o.file.SetReadDeadline(time.Time{})
	o.release(ended)
}

// copy reports whether the stream has ended.
func (o *Output) copy(conn io.Writer) (ended bool) {
	from := nonblock.Of(o.file)
	room := buffers.Get().(*[bufferSize]byte)
	buffer := room[:]
	defer func() {
		if len(o.left) == 0 { // otherwise it is in there
			buffers.Put(room)
		}
	}()
	for tried := false; ; {
		if len(o.left) == 0 {
			n, err := from.Read(buffer)
			o.left = buffer[:n]
			o.passed += int64(n)
			if n == 0 && err != nil {
				ended, again := o.stopped(err)
				if again {
					continue
				}
				return ended
			}
		}
		n, err := conn.Write(o.left)
		o.left = o.left[n:]
		if err != nil {
			return false
		}
		if n == bufferSize && !tried { // the process writes faster than it is read
			tried = true
			if sender := o.sender(conn); sender != nil {
				return o.send(sender)
			}
		}
	}
}

// bulkSize is what the pipe of a process that writes much may hold, in bytes. To move a large piece at a time matters more than all else: under emulation a
// change between vminitd and the process costs as much as 64 KiB of bytes.
const bulkSize = 1 << 20

// fullInRow is how often a pipe was full of small pages when it is enlarged: the next ones are expected to be small.
const fullInRow = 2

// sender returns nil where pages cannot be moved: a terminal has none, vsock takes none, nor does a port with a kernel that is not ours.
func (o *Output) sender(conn io.Writer) *serialmux.Sender {
	to, ok := conn.(interface {
		NewSender() (*serialmux.Sender, error)
	})
	if !ok || !enlarge(o.file, sizeFor(bulkSize)) {
		return nil
	}
	sender, err := to.NewSender()
	if err != nil {
		return nil
	}
	return sender
}

// send is copy without copying.
func (o *Output) send(sender *serialmux.Sender) (ended bool) {
	defer sender.Close()
	raw, err := o.file.SyscallConn()
	if err != nil {
		return true // closed here
	}
	inSmall := sizeFor(bulkSize) // what the pipe holds in pages of 4 KiB
	for inRow := 0; ; {
		n, read, err := sender.Send(raw)
		switch {
		case err == nil && n == 0:
			return true
		case err == nil:
			o.passed += int64(n)
			if n != inSmall {
				inRow = 0
			} else if inRow++; inRow == fullInRow && inSmall < bulkSize { // who moves files there with sendfile(2) has no others
				enlarge(o.file, bulkSize/2)
			}
		case read:
			if ended, again := o.stopped(err); !again {
				return ended
			}
		default:
			o.left = sender.Left()
			return false
		}
	}
}

// Close ends the stream, even under a connection.
func (o *Output) Close() {
	o.close()
	_ = o.file.Close()
}

// Terminal is both directions of a terminal.
type Terminal struct {
	Output
	feed feed
}

// typedSize is how much is passed to a terminal at a time, in bytes: what its line discipline holds.
const typedSize = 4 << 10

// NewTerminal owns the master of a terminal from now on.
func NewTerminal(master *os.File) *Terminal {
	return &Terminal{Output: Output{file: master}, feed: feed{file: master}}
}

// Claim makes the terminal conn's.
func (t *Terminal) Claim(conn Conn) error {
	return t.take(conn, func() {
		t.beginReading()
		t.feed.begin()
		t.feed.ended = false // see Serve
	})
}

// Suspend has the connection give the terminal back, in the direction from the host at the border; the result is closed then.
func (t *Terminal) Suspend(at Border) <-chan struct{} {
	return t.suspend(func(conn Conn) {
		t.interrupt(conn)
		t.feed.suspend(conn, at)
	})
}

// Serve moves bytes both ways until the last process has closed the terminal, or conn is lost. The host's half-close means nothing to a
// terminal, whose end of input is a character.
func (t *Terminal) Serve(conn Conn) {
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		if t.feed.run(conn, make([]byte, typedSize)) == fedLost {
			_ = t.file.SetReadDeadline(past)
		}
	}()
	ended := t.copy(conn)
	suspended := t.isSuspended()
	if ended || suspended {
		_ = conn.CloseWrite()
	}
	if ended || !suspended { // otherwise what was typed is still taken, up to the border
		_ = conn.SetReadDeadline(past)
		_ = t.file.SetWriteDeadline(past)
	}
	<-typed
	_ = t.file.SetDeadline(time.Time{})
	t.release(ended)
}

// File is the master, for its size.
func (t *Terminal) File() *os.File { return t.file }
