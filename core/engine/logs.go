package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/vzctl/vzctl/core/containerlog"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Logs writes what a container has written, or the console of its VM.
func (e *Engine) Logs(ctx context.Context, ref string, options LogOptions, stdout, stderr io.Writer) error {
	c, err := e.store.Find(ref)
	if err != nil {
		return err
	}
	paths := e.store.Paths()
	if options.Boot {
		if options.Timestamps || !options.Since.IsZero() || !options.Until.IsZero() {
			return &fault.Error{Reason: fault.Invalid, Op: "read console of container", Subject: c.Name, Cause: errors.New("it has no times"),
				Hint: "leave out --since, --until and --timestamps"}
		}
		life := ""
		if options.Follow {
			life = paths.SandboxLife(c.Sandbox)
		}
		return copyConsole(ctx, stdout, paths.SandboxConsole(c.Sandbox), life, options.Tail)
	}
	err = containerlog.Replay(ctx, paths.ContainerLog(c.ID), containerlog.Options{Follow: options.Follow, Tail: options.Tail, Since: options.Since,
		Until: options.Until, Timestamps: options.Timestamps}, stdout, stderr)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran
	}
	return err
}

// checkLog completes the bounds of a container's log with the configuration's, and refuses those that cannot be.
func (e *Engine) checkLog(l *store.LogLimits) error {
	if l.MaxBytes == 0 {
		l.MaxBytes = int64(e.config.Defaults.LogMaxSize)
	}
	if l.MaxFiles == 0 {
		l.MaxFiles = int(e.config.Defaults.LogMaxFiles)
	}
	if l.MaxBytes != 0 && l.MaxBytes < containerlog.MinBytes {
		return &fault.Error{Reason: fault.Invalid, Op: "bound the log", Cause: fmt.Errorf("files of %d bytes are too small", l.MaxBytes),
			Hint: fmt.Sprintf("give at least max-size=%dk, or -1 for no bound", containerlog.MinBytes>>10)}
	}
	if l.MaxFiles < 0 || l.MaxFiles > maxLogFiles {
		return &fault.Error{Reason: fault.Invalid, Op: "bound the log", Cause: fmt.Errorf("there cannot be %d files", l.MaxFiles),
			Hint: fmt.Sprintf("give max-file from 1 to %d", maxLogFiles)}
	}
	return nil
}

const maxLogFiles = 1000
