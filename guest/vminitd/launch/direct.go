package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/phase"
	"github.com/vzctl/vzctl/guest/vminitd/reap"
	"github.com/vzctl/vzctl/guest/vminitd/vfork"
)

// Direct starts a further process without a helper, whose start takes several times as long as all that is to be done. The process shares the memory of this one until it has executed. root and known are the container's.
// If the process ends within patience, it has ended when Direct returns. After an error nothing has happened, and Start does it, or says why it cannot be done; unless ctx has ended.
func Direct(ctx context.Context, reaper *reap.Reaper, r Request, root *os.File, known *helper.Known, patience time.Duration) (started *Started, err error) {
	raw, err := root.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(root uintptr) { // which may be closed meanwhile
		err = r.Join.WithPidFD(func(init int) error {
			started, err = direct(ctx, reaper, r, helper.Container{Root: int(root), Init: init, Known: known}, patience)
			return err
		})
	})
	return started, errors.Join(controlErr, err)
}

func direct(ctx context.Context, reaper *reap.Reaper, r Request, in helper.Container, patience time.Duration) (*Started, error) {
	var stdio []int
	for _, f := range r.Stdio {
		stdio = append(stdio, int(f.Fd()))
	}
	of, err := helper.Direct(r.Config, in, stdio)
	if err != nil {
		return nil, err
	}
	further := further{of}
	phase.Done(ctx, "find out")
	child, err := further.start(ctx, reaper, in.Init, r.Cgroup, patience)
	phase.Done(ctx, "execute")
	if err == nil {
		return &Started{Child: child, Terminal: further.Terminal, Left: further.Opened}, nil
	}
	for _, fd := range further.Opened {
		err = errors.Join(err, unix.Close(fd))
	}
	if further.Terminal != nil {
		_ = further.Terminal.Close()
	}
	return nil, err
}

// further is a process that is about to be made.
type further struct{ *helper.Further }

// start makes it in a pid namespace, and returns once it has executed and, if it ends within patience, has ended.
func (f further) start(ctx context.Context, reaper *reap.Reaper, namespace int, cgroup *os.File, patience time.Duration) (child *reap.Child, err error) {
	var begun *vfork.Begun
	if patience > 0 && runtime.GOMAXPROCS(0) == 1 {
		defer reaper.Quiet()()
	}
	err = inPidNamespace(reaper, namespace, func() (err error) {
		child, err = reaper.Start(func() (int, error) {
			if begun, err = f.Begin(ctx, cgroup, patience); begun == nil {
				return 0, err
			}
			return begun.Pid, err
		})
		return err
	})
	if begun == nil {
		return nil, err
	}
	defer func() { _ = begun.Close() }()
	if err == nil && patience > 0 {
		begun.AwaitEnd(ctx, patience)
		child.Look()
		if err = ctx.Err(); err != nil { // nobody will learn of it
			err = errors.Join(err, child.Signal(unix.SIGKILL))
		}
	}
	return child, err
}

// inPidNamespace runs f, whose children are members of the pid namespace of a process. Who calls makes no process on this goroutine but by way of this function.
func inPidNamespace(reaper *reap.Reaper, pidfd int, f func() error) error {
	own, err := reaper.Self()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	err = unix.Setns(pidfd, unix.CLONE_NEWPID) // of this thread's children
	if err == nil {
		err = f()
	}
	if unix.Setns(own, unix.CLONE_NEWPID) == nil {
		runtime.UnlockOSThread()
	} // otherwise this goroutine keeps the thread, and it ends with it
	return err
}

// Root opens the root directory of a mount namespace. The caller closes it; until then nothing that is mounted there can be unmounted for good.
func Root(namespace *os.File) (root *os.File, err error) {
	aside(func() {
		// The kernel gives a mount namespace only to who shares root and working directory with no other thread.
		if err = unix.Unshare(unix.CLONE_FS); err != nil {
			return
		}
		if err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
			return
		}
		fd := 0
		if fd, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			root = os.NewFile(uintptr(fd), "root")
		}
	})
	if err != nil {
		return nil, fmt.Errorf("open the root of a container: %w", err)
	}
	return root, nil
}

// aside runs f on a thread that ends with it, whatever it has done to itself. That is not the first thread: Go keeps it for good, and /proc/self shows its namespaces.
func aside(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			aside(f) // elsewhere, as this thread is taken
			return
		}
		f()
	}()
	<-done
}
