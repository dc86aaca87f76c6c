package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/idmap"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/reap"
	"github.com/vzctl/vzctl/guest/vminitd/vfork"
)

// The kernel lets nobody into another user namespace who has more than one thread, and Go's programs have several before any code of ours runs. So a helper is born in the container's: a first
// process by clone(2), and a further one from a process that enters it between vfork(2) and execve(2).

// NewIn makes a helper as New does for a first process, in a new user namespace with these maps, and in those of helper.BornNamespaces that are asked for.
func NewIn(reaper *reap.Reaper, cgroup *os.File, ids *idmap.Maps, namespaces int) (*Helper, error) {
	return newHelper(func(socket int) (*reap.Child, error) {
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		defer func() { _ = null.Close() }()
		attr := &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), 2, uintptr(socket)}, Sys: &syscall.SysProcAttr{
			UseCgroupFD: true, CgroupFD: int(cgroup.Fd()),
			Cloneflags:  uintptr(unix.CLONE_NEWUSER | unix.CLONE_NEWPID | namespaces&helper.BornNamespaces),
			UidMappings: mappings(ids.UIDs), GidMappings: mappings(ids.GIDs), GidMappingsEnableSetgroups: true,
			Credential: &syscall.Credential{}, // its root, who keeps all capabilities there
		}}
		return reaper.Start(func() (pid int, err error) {
			vfork.Calm(func() { pid, err = syscall.ForkExec("/proc/self/exe", []string{helper.Name}, attr) })
			return pid, err
		})
	})
}

func mappings(m idmap.Map) (all []syscall.SysProcIDMap) {
	for _, r := range m {
		all = append(all, syscall.SysProcIDMap{ContainerID: int(r.ContainerID), HostID: int(r.HostID), Size: int(r.Size)})
	}
	return all
}

// newHelper makes the helper that a request has none of.
func (r Request) newHelper(ctx context.Context, reaper *reap.Reaper) (*Helper, error) {
	switch {
	case r.Config.IDs == nil:
		return New(reaper, r.Cgroup, r.Join)
	case r.Join == nil:
		return NewIn(reaper, r.Cgroup, r.Config.IDs, r.Config.Init.Namespaces)
	}
	return newHelper(func(socket int) (*reap.Child, error) {
		return forkInto(ctx, reaper, r.Cgroup, r.Join, socket, r.Unreadable)
	})
}

// Unreadable returns a function that returns this program in a file which may be executed and not read; always the same, made when it is needed. Who executes a program that it could not read, may not be looked into by
// anybody who is not the machine's root, see ptrace(2): neither by a capability in the user namespace that it is in.
func Unreadable() func() (*os.File, error) {
	return sync.OnceValues(func() (_ *os.File, err error) {
		from, err := os.Open("/proc/self/exe")
		if err != nil {
			return nil, err
		}
		defer func() { _ = from.Close() }()
		fd, err := unix.MemfdCreate("helper", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, os.NewSyscallError("memfd_create", err)
		}
		to := os.NewFile(uintptr(fd), "helper")
		defer func() { err = errors.Join(err, to.Close()) }() // what is open to be written is not executed
		if _, err := io.Copy(to, from); err != nil {
			return nil, err
		}
		if err := to.Chmod(0o711); err != nil {
			return nil, err
		}
		path, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(path), "helper"), nil
	})
}

// forkInto is fork for a process that joins another's user namespace.
func forkInto(ctx context.Context, reaper *reap.Reaper, cgroup *os.File, joined *reap.Child, socket int, unreadable func() (*os.File, error)) (*reap.Child, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	pidfd, err := joined.PidFD()
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(pidfd) }()
	program, err := unreadable()
	if err != nil {
		return nil, fmt.Errorf("copy the helper's program: %w", err)
	}
	var script vfork.Script
	script.UnblockSignals()
	script.Call("join the container", unix.SYS_SETNS, uintptr(pidfd), helper.Joined|unix.CLONE_NEWUSER)
	const away = 16 // from the descriptors that a helper has
	var high [5]int
	for i, fd := range [...]int{int(null.Fd()), int(null.Fd()), 2, socket, int(program.Fd())} {
		if high[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, away); err != nil {
			return nil, err
		}
		defer func() { _ = unix.Close(high[i]) }()
	}
	for i, fd := range high[:4] {
		script.Call("take a descriptor", unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
	script.Call("close what is the machine's", unix.SYS_CLOSE_RANGE, 4, uintptr(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
	script.Call("become the group", unix.SYS_SETRESGID, 0, 0, 0)
	script.Call("become the user", unix.SYS_SETRESUID, 0, 0, 0)
	script.Call("be looked into by nobody", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // a system setting may have said otherwise just now, and the memory is vminitd's still
	if err := script.ExecuteFile(high[4], []string{helper.Name}, nil); err != nil {
		return nil, err
	}
	var child *reap.Child
	err = inPidNamespace(reaper, pidfd, func() (err error) {
		child, err = reaper.Start(func() (int, error) { return script.Run(ctx, cgroup) })
		return err
	})
	return child, err
}

// prepareOutside does for a process in a user namespace what only the machine's root may.
func prepareOutside(child *reap.Child, r Request) error {
	if err := helper.RaiseLimits(child.Pid, r.Config.Process.Rlimits); err != nil {
		return err
	}
	uid, gid := r.Config.IDs.Out(0, 0)
	for _, f := range r.Stdio { // who may give them to somebody else of the namespace then
		if err := f.Chown(uid, gid); err != nil {
			return fmt.Errorf("give root of the container its streams: %w", err)
		}
	}
	if r.Config.Init == nil {
		return nil
	}
	settings, _ := r.Config.Init.SplitSysctls()
	queues := r.Config.Init.Namespaces&unix.CLONE_NEWIPC != 0
	if len(settings) == 0 && !queues {
		return nil
	}
	pidfd, err := child.PidFD()
	if err != nil {
		return err
	}
	aside(func() {
		if err = unix.Setns(pidfd, unix.CLONE_NEWIPC|unix.CLONE_NEWNET); err != nil {
			return
		}
		if err = helper.SetSysctls(settings); err == nil && queues {
			err = helper.GiveMessageQueues(uid, gid)
		}
	})
	return errors.Join(err, unix.Close(pidfd))
}
