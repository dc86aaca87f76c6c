// Package seccomp makes system call filters: the one of a runtime spec (compile.go), and the one every container has. Filters are classic BPF,
// assembled here (assemble.go): libseccomp is C.
package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Filter is a program for the kernel.
type Filter struct {
	code  []unix.SockFilter
	flags uintptr
}

// Always is the filter of every container. vsock has no namespace: a container that may open such sockets could listen where the host
// expects vminitd, or speak to the host.
func Always() Filter {
	b := begin()
	b.rule(rule{number: unix.SYS_SOCKET, action: errno(unix.EAFNOSUPPORT),
		conditions: []condition{{index: 0, op: maskedEqual, mask: 0xffff_ffff, value: unix.AF_VSOCK}}})
	return Filter{code: b.end(unix.SECCOMP_RET_ALLOW)}
}

// Default is added to Always where a spec has no filter of its own. io_uring makes sockets past any filter, AF_VSOCK too; other runtimes' default
// profiles refuse it as well.
func Default() Filter {
	b := begin()
	b.rule(rule{number: unix.SYS_IO_URING_SETUP, action: errno(unix.ENOSYS)})
	return Filter{code: b.end(unix.SECCOMP_RET_ALLOW)}
}

// Install binds the calling thread, and what it executes, to the filter. It needs CAP_SYS_ADMIN or no-new-privileges.
func (f Filter) Install() error {
	program := unix.SockFprog{Len: uint16(len(f.code)), Filter: &f.code[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, f.flags, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return fmt.Errorf("install a system call filter: %w", errno)
	}
	return nil
}
