// Package rehearsal goes through lives of containers before there is a host, in a machine that others are copied from while it runs: code that has run before the
// copy is made need not be translated in any of the copies, where the CPU is emulated. The way is that of a start: an agent, its gRPC server and a session of the
// serial port's protocol, with a small host at the other end of a socket (host.go, calls.go) that asks what core/sandbox asks (life.go, request.go). After that the
// machine is as it was (machine.go), or of no use. Start with Run.
//
// The disks are the machine's, which has placeholders: a read-only one with the programs of life.go, and one for the writable layer. Nothing random that lasts may
// come of it, so there is no socket of TCP or UDP, nor does anything read the kernel's boot id. See docs/guest.md.
package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vzctl/vzctl/guest/vminitd/container"
)

// word of the kernel's command line asks for a rehearsal.
const word = "vzctl.rehearse=full"

// patience bounds a rehearsal, and another its undoing; emulated machines are slow.
const patience = time.Minute

// ErrNotUndone says that the machine is not what it was, and must not be used.
var ErrNotUndone = errors.New("the rehearsal is not undone")

// Wanted reports whether the machine is to rehearse.
func Wanted() bool {
	line, err := os.ReadFile("/proc/cmdline")
	return err == nil && slices.Contains(strings.Fields(string(line)), word)
}

// Run rehearses. version and started are what the agent says of itself. After an error the machine is as it was, too, unless it is ErrNotUndone.
func Run(ctx context.Context, version string, started time.Duration, runtime *container.Runtime) error {
	<-runtime.Ready() // a mount, or a process, that comes meanwhile would be taken for one of ours
	m, err := note(runtime)
	if err != nil {
		return err
	}
	// In this order, as what is done once more takes other ways in places (maps and stacks have grown), and the second is what most copies begin with.
	for _, life := range []func(*host, context.Context, *machine) error{(*host).exec, (*host).run} {
		m.reopen = runtime.Keep()
		err := act(ctx, version, started, m, life)
		if undoErr := undo(ctx, m); undoErr != nil {
			return fmt.Errorf("%w: %w", ErrNotUndone, errors.Join(undoErr, err))
		}
		if err != nil {
			return err
		}
	}
	settle()
	return nil
}

// act goes through one life, with a host of its own.
func act(ctx context.Context, version string, started time.Duration, m *machine, life func(*host, context.Context, *machine) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done after %v", patience))
	defer cancel()
	h, err := connect(ctx, version, started, m.runtime)
	if err != nil {
		return err
	}
	return errors.Join(life(h, ctx, m), h.close())
}

func undo(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done after %v", patience))
	defer cancel()
	return m.restore(ctx)
}

// settle has the garbage collected, so that no copy has to.
func settle() { runtime.GC() }
