package stdio

import (
	"errors"
	"os"
)

// Input is what a process reads.
type Input struct {
	claim
	feed feed
}

// NewInput owns the near end of a pipe from now on.
func NewInput(file *os.File) *Input { return &Input{feed: feed{file: file}} }

// Claim makes the stream conn's. Of a process that has ended already too: to the host it looks as if it had ended a moment later.
func (i *Input) Claim(conn Conn) error {
	if err := i.take(conn, i.feed.begin); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// Suspend has the connection give the stream back once it has received what the border says; the result is closed then.
func (i *Input) Suspend(at Border) <-chan struct{} {
	return i.suspend(func(conn Conn) { i.feed.suspend(conn, at) })
}

// Serve moves bytes from conn until the host's half-close, which ends the process's input, or until the process has closed it. A lost
// connection ends nothing: another may go on. It does not close conn.
func (i *Input) Serve(conn Conn) {
	if !i.holds(conn) {
		return
	}
	switch i.feed.run(conn, make([]byte, bufferSize)) {
	case fedEnd, fedRefused:
		_ = i.feed.file.Close() // a pipe has nothing left to fail with
		i.release(true)
	default:
		i.release(false)
	}
}

// Close ends the stream.
func (i *Input) Close() {
	i.close()
	_ = i.feed.file.Close()
}
