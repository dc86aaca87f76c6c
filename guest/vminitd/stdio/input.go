package stdio

import (
	"errors"
	"io"
	"os"
)

// Input is what a process reads.
type Input struct {
	claim
	file *os.File
}

// NewInput owns the near end of a pipe from now on.
func NewInput(file *os.File) *Input { return &Input{file: file} }

// Claim makes the stream conn's. Of a process that has ended already too: to the host it looks as if it had ended a moment later.
func (i *Input) Claim(conn Conn) error {
	if err := i.claim.Claim(conn); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// Serve moves bytes from conn until the host's half-close, which ends the process's input, or until the process has closed it. A lost
// connection ends nothing: another may go on. It does not close conn.
func (i *Input) Serve(conn Conn) {
	if !i.holds(conn) {
		return
	}
	buffer := make([]byte, bufferSize)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if _, err := i.file.Write(buffer[:n]); err != nil {
				i.end()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			i.end()
			return
		}
		if err != nil {
			i.release(false)
			return
		}
	}
}

func (i *Input) end() {
	_ = i.file.Close() // a pipe has nothing left to fail with
	i.release(true)
}

// Close ends the stream.
func (i *Input) Close() {
	i.close()
	_ = i.file.Close()
}
