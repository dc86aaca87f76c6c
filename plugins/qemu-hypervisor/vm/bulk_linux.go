package vm

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vsock"
)

// enlargeSocket has a process's socket with this name that is connected keep more of what is sent. Where it may not be looked into nothing changes.
func enlargeSocket(pid int, path string) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(process) }()
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		descriptor, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if what, err := os.Readlink(dir + e.Name()); err != nil || !strings.HasPrefix(what, "socket:") {
			continue
		}
		fd, err := unix.PidfdGetfd(process, descriptor, 0)
		if errors.Is(err, unix.EBADF) { // it is closed again
			continue
		}
		if err != nil {
			return
		}
		found := connected(fd, path)
		if found {
			vsock.SendBuffer(fd, bulkBuffer)
		}
		_ = unix.Close(fd)
		if found {
			return
		}
	}
}

// connected tells that a socket was accepted by who listens at a path.
func connected(fd int, path string) bool {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	if at, local := name.(*unix.SockaddrUnix); !local || at.Name != path {
		return false
	}
	_, err = unix.Getpeername(fd)
	return err == nil
}
