// Package seccomp binds a thread to system call filters. Package guest/seccomp makes them.
package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Install binds the calling thread, and what it executes, to a filter: struct sock_filter one after the other, and SECCOMP_FILTER_FLAG_*. It needs CAP_SYS_ADMIN or
// no-new-privileges.
func Install(program []byte, flags uint32) error {
	const size = unsafe.Sizeof(unix.SockFilter{})
	if len(program) < int(size) {
		return fmt.Errorf("install a system call filter: %w", unix.EINVAL)
	}
	head := unix.SockFprog{Len: uint16(len(program) / int(size)), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&head)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return fmt.Errorf("install a system call filter: %w", errno)
	}
	return nil
}
