package vm

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode"
)

const (
	// maxConsole bounds what a guest can write to the host's disk by way of its console, in one run.
	maxConsole = 16 << 20
	// tailLength is how much of the end is kept to tell why a guest ended.
	tailLength = 8 << 10
)

// console appends what the guest's console says to a file.
type console struct {
	file *os.File
	from io.ReadCloser
	done chan struct{} // closed when the guest's end is closed and all is written
	tail tail
	err  error // of the file
}

// openConsole follows no link at the path: the log belongs to the container's directory.
func openConsole(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("the console's file is not a regular file")
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// newConsole owns both. It ends when from does.
func newConsole(file *os.File, from io.ReadCloser) *console {
	c := &console{file: file, from: from, done: make(chan struct{})}
	go c.copy()
	return c
}

// copy goes on reading when the file cannot be written: a guest must not wait for its log.
func (c *console) copy() {
	defer close(c.done)
	defer func() {
		_ = c.file.Close()
		_ = c.from.Close()
	}()
	left := maxConsole
	buffer := make([]byte, 16<<10)
	for {
		n, err := c.from.Read(buffer)
		c.tail.add(buffer[:n])
		if keep := min(n, left); keep > 0 && c.err == nil {
			left -= keep
			_, c.err = c.file.Write(buffer[:keep])
			if left == 0 && c.err == nil {
				_, c.err = c.file.WriteString("\n[vzctl: the console's log is full; what follows is dropped]\n")
			}
		}
		if err != nil {
			return
		}
	}
}

// tail keeps the last bytes of a stream.
type tail struct{ bytes []byte }

func (t *tail) add(p []byte) {
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - tailLength; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
}

// Write makes a tail the stderr of a process.
func (t *tail) Write(p []byte) (int, error) {
	t.add(p)
	return len(p), nil
}

// lines returns the last lines, at most n, without what could steer a terminal.
func (t *tail) lines(n int) []string {
	text := strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(t.bytes), "?"))
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}
