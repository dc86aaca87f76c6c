package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/vzctl/vzctl/core/containerlog"
)

// Logs writes what a container has written, or the console of its VM.
func (e *Engine) Logs(ctx context.Context, ref string, options LogOptions, stdout, stderr io.Writer) error {
	c, err := e.store.Find(ref)
	if err != nil {
		return err
	}
	if options.Boot {
		return copyTail(stdout, e.store.Paths().SandboxConsole(c.Sandbox), options.Tail)
	}
	err = containerlog.Replay(ctx, e.store.Paths().ContainerLog(c.ID), containerlog.Options{Follow: options.Follow, Tail: options.Tail}, stdout, stderr)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran
	}
	return err
}

// maxTail bounds what is searched for the last lines of a console, in bytes from its end. A console is the guest's to fill.
const maxTail = 16 << 20

// copyTail copies the last lines of a file, all of it if lines is negative. A file that is not there is empty.
func copyTail(to io.Writer, path string, lines int) (err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if lines < 0 {
		_, err = io.Copy(to, f)
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-maxTail), maxTail))
	if err != nil {
		return err
	}
	_, err = to.Write(lastLines(text, lines))
	return err
}

// lastLines returns the end of a text; a last line without its end counts.
func lastLines(text []byte, lines int) []byte {
	at := len(bytes.TrimSuffix(text, []byte{'\n'}))
	if lines == 0 {
		return nil
	}
	for range lines {
		if at = bytes.LastIndexByte(text[:max(at, 0)], '\n'); at < 0 {
			return text
		}
	}
	return text[at+1:]
}
