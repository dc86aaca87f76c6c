package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/vzctl/vzctl/core/containerlog"
)

// Logs writes what a container has written, or the console of its VM.
func (e *Engine) Logs(ctx context.Context, ref string, options LogOptions, stdout, stderr io.Writer) error {
	c, err := e.store.Find(ref)
	if err != nil {
		return err
	}
	if options.Boot {
		return copyFile(stdout, e.store.Paths().SandboxConsole(c.Sandbox))
	}
	err = containerlog.Replay(ctx, e.store.Paths().ContainerLog(c.ID), containerlog.Options{Follow: options.Follow, Tail: options.Tail}, stdout, stderr)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran
	}
	return err
}

func copyFile(to io.Writer, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(to, f)
	return errors.Join(err, f.Close())
}
