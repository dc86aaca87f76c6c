package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/fsnotify/fsnotify"

	"github.com/vzctl/vzctl/core/lock"
)

// maxTail bounds what is searched for the last lines of a console, in bytes from its end. A console is the guest's to fill.
const maxTail = 16 << 20

// copyConsole copies the last lines of a console, all of it if lines is negative. A file that is not there is empty. With life, the lock of whoever
// runs the machine, it goes on until nobody holds that.
func copyConsole(ctx context.Context, to io.Writer, path, life string, lines int) (err error) {
	c := &console{path: path, to: to}
	defer func() { err = errors.Join(err, c.close()) }()
	if life == "" {
		return c.tail(lines)
	}
	// The directory, as there may be no file yet; and before the reading, so that nothing falls in between.
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = watcher.Close() }() // it only watches
		err = watcher.Add(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("follow %q: %w", path, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- lock.AwaitFree(ctx, life) }()
	if err := c.tail(lines); err != nil {
		return err
	}
	for over := false; ; {
		if err := c.more(); err != nil || over {
			return err
		}
		select {
		case err := <-ended:
			if err != nil {
				return err
			}
			over = true
		case err := <-watcher.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("follow %q: %w", path, err)
			}
		case <-watcher.Events:
		}
	}
}

// console is a file that grows.
type console struct {
	path string
	to   io.Writer
	file *os.File // nil: there is none yet
}

func (c *console) open() error {
	if c.file != nil {
		return nil
	}
	f, err := os.OpenFile(c.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		c.file = f
	}
	return err
}

// tail writes the last lines.
func (c *console) tail(lines int) error {
	if err := c.open(); err != nil || c.file == nil {
		return err
	}
	if lines < 0 {
		return c.more()
	}
	info, err := c.file.Stat()
	if err != nil {
		return err
	}
	if _, err := c.file.Seek(max(0, info.Size()-maxTail), io.SeekStart); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(c.file, maxTail))
	if err != nil {
		return err
	}
	_, err = c.to.Write(lastLines(text, lines))
	return err
}

// more writes what has come since.
func (c *console) more() error {
	if err := c.open(); err != nil || c.file == nil {
		return err
	}
	_, err := io.Copy(c.to, c.file)
	return err
}

func (c *console) close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
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
