package fork

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	noSystemCall = ^uint64(0) // in orig_rax
	systemStop   = syscall.SIGTRAP | 0x80
	// options of a traced thread. One that is made inherits them, and is stopped.
	options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
)

func ptrace(request, id int, address, data uintptr) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(id), address, data, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

var errEnded = errors.New("it has ended")

// await returns when a traced thread stops.
func await(id int) (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(id, &status, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case !status.Stopped():
			return 0, fmt.Errorf("thread %d: %w", id, errEnded)
		}
		return status, nil
	}
}

// call has a stopped thread make a system call, and leaves its registers changed. gadget is the address of a syscall instruction.
func (t *thread) call(gadget, number uint64, arguments ...uint64) (result uint64, err error) {
	result, _, err = t.callTelling(gadget, number, arguments...)
	return result, err
}

// callTelling also returns the number of the thread or process that the call has made.
func (t *thread) callTelling(gadget, number uint64, arguments ...uint64) (result uint64, made int, err error) {
	regs := t.regs
	regs.Rip, regs.Rax, regs.Orig_rax = gadget, number, noSystemCall
	to := []*uint64{&regs.Rdi, &regs.Rsi, &regs.Rdx, &regs.R10, &regs.R8, &regs.R9}
	for i := range to {
		*to[i] = 0
		if i < len(arguments) {
			*to[i] = arguments[i]
		}
	}
	if err := unix.PtraceSetRegs(t.id, &regs); err != nil {
		return 0, 0, fmt.Errorf("write registers: %w", err)
	}
	for stops := 0; stops < 2; { // as the call begins, and as it ends
		if err := unix.PtraceSyscall(t.id, 0); err != nil {
			return 0, made, fmt.Errorf("go on: %w", err)
		}
		status, err := await(t.id)
		if err != nil {
			return 0, made, err
		}
		switch event := int(status) >> 16; {
		case status.StopSignal() == systemStop:
			stops++
		case event == unix.PTRACE_EVENT_FORK, event == unix.PTRACE_EVENT_CLONE:
			message, err := unix.PtraceGetEventMsg(t.id)
			if err != nil {
				return 0, made, fmt.Errorf("read what was made: %w", err)
			}
			made = int(message)
		case event == unix.PTRACE_EVENT_STOP:
		default:
			return 0, made, fmt.Errorf("thread %d was stopped by %v", t.id, status.StopSignal())
		}
	}
	if err := unix.PtraceGetRegs(t.id, &regs); err != nil {
		return 0, made, fmt.Errorf("read registers: %w", err)
	}
	if value := int64(regs.Rax); value < 0 && value > -4096 {
		return 0, made, fmt.Errorf("system call %d in the other process: %w", number, syscall.Errno(-value))
	}
	return regs.Rax, made, nil
}

// memory is that of a traced process.
type memory int // its number

func (m memory) read(at uint64, into []byte) error {
	n, err := unix.ProcessVMReadv(int(m), []unix.Iovec{{Base: &into[0], Len: uint64(len(into))}}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(into)}}, 0)
	if err == nil && n != len(into) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (m memory) write(at uint64, data []byte) error {
	n, err := unix.ProcessVMWritev(int(m), []unix.Iovec{{Base: &data[0], Len: uint64(len(data))}}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(data)}}, 0)
	if err == nil && n != len(data) {
		err = io.ErrShortWrite
	}
	return err
}

// findSyscall looks for a syscall instruction in the code that the kernel gives every process.
func findSyscall(memory memory, areas []area) (uint64, error) {
	for _, a := range areas {
		if a.name != "[vdso]" {
			continue
		}
		code := make([]byte, a.end-a.begin)
		if err := memory.read(a.begin, code); err != nil {
			return 0, err
		}
		if at := bytes.Index(code, []byte{0x0f, 0x05}); at >= 0 {
			return a.begin + uint64(at), nil
		}
	}
	return 0, errors.New("no syscall instruction found")
}
