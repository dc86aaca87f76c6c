// Package boot makes a machine out of what the kernel leaves its first process: mounts and limits. Nothing here knows of containers.
package boot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/sysmon"
)

// maxFiles is vminitd's own limit of open files: a pipe or connection for each stream.
const maxFiles = 1 << 18

// mount is one of the machine's.
type mount struct {
	kind, at string
	flags    uintptr
	data     string
}

var mounts = []mount{
	{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	{"devtmpfs", "/dev", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755"},
	{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0700"},
	{"cgroup2", "/sys/fs/cgroup", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "nsdelegate"},
	{"binfmt_misc", "/proc/sys/fs/binfmt_misc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
}

// Setup mounts what every Linux program expects, raises vminitd's own limits, has disks read ahead, and Go's runtime look after its threads less often.
func Setup() error {
	unix.Umask(0o022)
	if err := leaveInitialRoot(); err != nil {
		return fmt.Errorf("leave the initial root: %w", err)
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	if err := sysmon.Slow(); err != nil {
		fmt.Fprintln(os.Stderr, "vminitd: all is slower:", err)
	}
	limit := &unix.Rlimit{Cur: maxFiles, Max: maxFiles}
	return errors.Join(
		readAhead(),
		unix.Setrlimit(unix.RLIMIT_NOFILE, limit),
		// Others of the machine may make processes with its memory before they execute (package vfork), which nobody in a container may look into.
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// leaveInitialRoot puts a second mount of the initial RAM file system over the first. pivot_root(2), which gives a container its root, refuses
// to move the kernel's very first mount.
func leaveInitialRoot() error {
	const second = "/.root"
	if err := os.Mkdir(second, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("/", second, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Chdir(second); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	return errors.Join(unix.Chroot("."), unix.Chdir("/"))
}
