package fork

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests and constants of ptrace(2) that package unix does not have.
const (
	ptraceGetSigmask = 0x420a
	ptraceSetSigmask = 0x420b
	ptraceGetRseq    = 0x420f
	ntX86Xstate      = 0x202
	maxXstate        = 16 << 10
	sigmaskSize      = 8
)

// How the kernel marks an interrupted system call that the thread would make again when it goes on.
const (
	restartSystem    = -512
	restartNoSignal  = -513
	restartNoHandler = -514
	restartBlock     = -516
	lengthOfSyscall  = 2 // of the instruction
)

// thread is all of a stopped thread that is not in memory.
type thread struct {
	id       int
	system   uint64 // the system call in which it waits
	regs     unix.PtraceRegs
	xstate   []byte // floating point and vectors
	sigmask  uint64
	sigstack [3]uint64 // as in sigaltstack(2)
	rseq     rseq
	number   uint64 // address where the C library keeps the thread's number, and waits for its end
	robust   [2]uint64
}

// rseq is the registration of restartable sequences, as ptrace(2) tells it.
type rseq struct {
	pointer   uint64
	size      uint32
	signature uint32
	flags     uint32
	_         uint32
}

// read reads the state of a stopped thread.
func (t *thread) read(memory memory, gadget uint64) error {
	if err := unix.PtraceGetRegs(t.id, &t.regs); err != nil {
		return fmt.Errorf("read registers: %w", err)
	}
	t.xstate = make([]byte, maxXstate)
	vector := unix.Iovec{Base: &t.xstate[0], Len: maxXstate}
	if err := ptrace(unix.PTRACE_GETREGSET, t.id, ntX86Xstate, uintptr(unsafe.Pointer(&vector))); err != nil {
		return fmt.Errorf("read vector registers: %w", err)
	}
	t.xstate = t.xstate[:vector.Len]
	if err := ptrace(ptraceGetSigmask, t.id, sigmaskSize, uintptr(unsafe.Pointer(&t.sigmask))); err != nil {
		return fmt.Errorf("read signal mask: %w", err)
	}
	if err := ptrace(ptraceGetRseq, t.id, unsafe.Sizeof(t.rseq), uintptr(unsafe.Pointer(&t.rseq))); err != nil {
		return fmt.Errorf("read restartable sequences: %w", err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, uintptr(t.id), uintptr(unsafe.Pointer(&t.robust[0])), uintptr(unsafe.Pointer(&t.robust[1]))); errno != 0 {
		return fmt.Errorf("read robust list: %w", errno)
	}
	t.rewind()
	scratch := t.scratch()
	if _, err := t.call(gadget, unix.SYS_PRCTL, unix.PR_GET_TID_ADDRESS, scratch); err != nil {
		return err
	}
	word := make([]byte, 8)
	if err := memory.read(scratch, word); err != nil {
		return err
	}
	t.number = binary.LittleEndian.Uint64(word)
	if _, err := t.call(gadget, unix.SYS_SIGALTSTACK, 0, scratch); err != nil {
		return err
	}
	stack := make([]byte, 24)
	if err := memory.read(scratch, stack); err != nil {
		return err
	}
	for i := range t.sigstack {
		t.sigstack[i] = binary.LittleEndian.Uint64(stack[8*i:])
	}
	return nil
}

// waits reports whether the thread was interrupted in a system call that only waits.
func (t *thread) waits() (bool, error) {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(t.id, &regs); err != nil {
		return false, fmt.Errorf("read registers: %w", err)
	}
	if regs.Orig_rax != unix.SYS_RESTART_SYSCALL { // which goes on with the one that it was stopped in before
		t.system = regs.Orig_rax
	}
	switch t.system {
	case unix.SYS_POLL, unix.SYS_PPOLL, unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP:
	default:
		return false, nil
	}
	return interrupted(&regs), nil
}

// interrupted reports whether the kernel would make the system call again.
func interrupted(regs *unix.PtraceRegs) bool {
	switch int64(regs.Rax) {
	case restartSystem, restartNoSignal, restartNoHandler, restartBlock:
		return true
	}
	return false
}

// rewind has the thread make the system call again that it was interrupted in: the kernel does that for the thread itself, but not for its copies. One with a time limit waits for all of it again.
func (t *thread) rewind() {
	if interrupted(&t.regs) {
		t.regs.Rax = t.system
		t.regs.Rip -= lengthOfSyscall
	}
	t.regs.Orig_rax = noSystemCall
}

// scratch is an address below what the thread uses of its stack.
func (t *thread) scratch() uint64 { return (t.regs.Rsp - scratchDistance) &^ 63 }

const scratchDistance = 8 << 10

// write makes another stopped thread go on where this one stands.
func (t *thread) write(id int) error {
	if err := unix.PtraceSetRegs(id, &t.regs); err != nil {
		return fmt.Errorf("write registers: %w", err)
	}
	vector := unix.Iovec{Base: &t.xstate[0], Len: uint64(len(t.xstate))}
	if err := ptrace(unix.PTRACE_SETREGSET, id, ntX86Xstate, uintptr(unsafe.Pointer(&vector))); err != nil {
		return fmt.Errorf("write vector registers: %w", err)
	}
	if err := ptrace(ptraceSetSigmask, id, sigmaskSize, uintptr(unsafe.Pointer(&t.sigmask))); err != nil {
		return fmt.Errorf("write signal mask: %w", err)
	}
	return nil
}

// register has the kernel know of a copied thread what the C library has told it of the original's. scratch may be written.
func (t *thread) register(id int, memory memory, gadget uint64, main bool) error {
	as := thread{id: id, regs: t.regs}
	if t.robust[0] != 0 {
		if _, err := as.call(gadget, unix.SYS_SET_ROBUST_LIST, t.robust[0], t.robust[1]); err != nil {
			return err
		}
	}
	if main {
		return nil // fork keeps the rest
	}
	if t.rseq.pointer != 0 {
		if _, err := as.call(gadget, unix.SYS_RSEQ, t.rseq.pointer, uint64(t.rseq.size), uint64(t.rseq.flags), uint64(t.rseq.signature)); err != nil {
			return err
		}
	}
	const disabled = 2
	if t.sigstack[1]&disabled != 0 {
		return nil
	}
	stack := make([]byte, 24)
	for i, value := range t.sigstack {
		binary.LittleEndian.PutUint64(stack[8*i:], value)
	}
	if err := memory.write(as.scratch(), stack); err != nil {
		return err
	}
	_, err := as.call(gadget, unix.SYS_SIGALTSTACK, as.scratch(), 0)
	return err
}
