package vm

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// enlargeSocket has a process's sockets with this name that are connected keep more of what is sent. Where it may not be looked into nothing changes.
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
		if fd, err := unix.PidfdGetfd(process, descriptor, 0); err == nil {
			if connected(fd, path) {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bulkBuffer)
			}
			_ = unix.Close(fd)
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
