package accel

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/kvm.h.
const (
	kvmCreateVM            = 0xae01
	kvmGetVCPUMmapSize     = 0xae04
	kvmCreateVCPU          = 0xae41
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmSetTSSAddress       = 0xae47
	kvmRun                 = 0xae80
	kvmGetRegs             = 0x8090ae81
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84

	exitReasonOffset = 8 // in struct kvm_run
	exitHalt         = 5
)

type kvmRegs struct {
	RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8, R9, R10, R11, R12, R13, R14, R15, RIP, RFLAGS uint64
}

type kvmSegment struct {
	Base                            uint64
	Limit                           uint32
	Selector                        uint16
	Type, Present, DPL, DB, S, L, G uint8
	Available, Unusable, _          uint8
}

type kvmTable struct {
	Base  uint64
	Limit uint16
	_     [3]uint16
}

type kvmSregs struct {
	CS, DS, ES, FS, GS, SS, TR, LDT         kvmSegment
	GDT, IDT                                kvmTable
	CR0, CR2, CR3, CR4, CR8, EFER, APICBase uint64
	Interrupts                              [4]uint64
}

type kvmMemoryRegion struct {
	Slot, Flags            uint32
	Guest, Size, UserSpace uint64
}

// The guest: page tables that map its memory one to one, and a loop of two instructions.
const (
	guestMemory = 2 << 20
	tableAt     = 0x1000
	codeAt      = 0x8000
	rounds      = 500_000
)

// probeKVM runs a million instructions in long mode.
func probeKVM() Verdict {
	guest, err := newGuest()
	if err != nil {
		return Verdict{Reason: "KVM makes no VM: " + err.Error()}
	}
	ended := make(chan error, 1)
	begun := time.Now()
	go func() {
		runtime.LockOSThread()
		ended <- guest.run()
	}()
	timer := time.NewTimer(speedDeadline)
	select {
	case err := <-ended:
		if err != nil {
			return Verdict{Reason: "KVM runs no guest: " + err.Error()}
		}
		return Verdict{Usable: true, Reason: fmt.Sprintf("KVM ran a million instructions in %v", time.Since(begun).Round(10*time.Microsecond))}
	case <-timer.C: // the end of this process ends the guest
		return Verdict{Reason: fmt.Sprintf("KVM is too slow to boot a kernel: it did not run a million instructions within %v, "+
			"as if it were itself emulated", speedDeadline)}
	}
}

// guest is a VM with one CPU. It is freed by the end of the process.
type guest struct {
	cpu   int
	state []byte // struct kvm_run
}

func newGuest() (*guest, error) {
	device, err := unix.Open(kvmDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	vm, err := ioctl(device, kvmCreateVM, 0)
	if err != nil {
		return nil, os.NewSyscallError("KVM_CREATE_VM", err)
	}
	memory, err := unix.Mmap(-1, 0, guestMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	loadGuest(memory)
	region := kvmMemoryRegion{Size: guestMemory, UserSpace: uint64(uintptr(unsafe.Pointer(&memory[0])))}
	if _, err := ioctl(vm, kvmSetUserMemoryRegion, uintptr(unsafe.Pointer(&region))); err != nil {
		return nil, os.NewSyscallError("KVM_SET_USER_MEMORY_REGION", err)
	}
	// Old Intel CPUs need this; where it fails it is not needed.
	_, _ = ioctl(vm, kvmSetTSSAddress, 0xfffbd000)
	cpu, err := ioctl(vm, kvmCreateVCPU, 0)
	if err != nil {
		return nil, os.NewSyscallError("KVM_CREATE_VCPU", err)
	}
	size, err := ioctl(device, kvmGetVCPUMmapSize, 0)
	if err != nil {
		return nil, os.NewSyscallError("KVM_GET_VCPU_MMAP_SIZE", err)
	}
	run, err := unix.Mmap(cpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	g := &guest{cpu: cpu, state: run}
	return g, g.enterLongMode()
}

func loadGuest(memory []byte) {
	const present, large = 3, 0x80
	binary.LittleEndian.PutUint64(memory[tableAt:], tableAt+0x1000|present)
	binary.LittleEndian.PutUint64(memory[tableAt+0x1000:], tableAt+0x2000|present)
	binary.LittleEndian.PutUint64(memory[tableAt+0x2000:], 0|present|large)
	code := binary.LittleEndian.AppendUint32([]byte{0xb9}, rounds) // mov ecx, rounds
	code = append(code, 0xff, 0xc9, 0x75, 0xfc, 0xf4)              // dec ecx; jnz -4; hlt
	copy(memory[codeAt:], code)
}

func (g *guest) enterLongMode() error {
	var sregs kvmSregs
	if _, err := ioctl(g.cpu, kvmGetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return os.NewSyscallError("KVM_GET_SREGS", err)
	}
	sregs.CR3 = tableAt
	sregs.CR4 |= 1 << 5                  // physical address extension
	sregs.CR0 |= 1 | 1<<1 | 1<<5 | 1<<31 // protected, paged
	sregs.EFER |= 1<<8 | 1<<10           // long mode enabled, and active
	sregs.CS = kvmSegment{Limit: 0xffffffff, Selector: 8, Type: 11, Present: 1, S: 1, L: 1, G: 1}
	data := kvmSegment{Limit: 0xffffffff, Selector: 16, Type: 3, Present: 1, DB: 1, S: 1, G: 1}
	sregs.DS, sregs.ES, sregs.FS, sregs.GS, sregs.SS = data, data, data, data, data
	if _, err := ioctl(g.cpu, kvmSetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return os.NewSyscallError("KVM_SET_SREGS", err)
	}
	regs := kvmRegs{RIP: codeAt, RFLAGS: 2}
	_, err := ioctl(g.cpu, kvmSetRegs, uintptr(unsafe.Pointer(&regs)))
	return os.NewSyscallError("KVM_SET_REGS", err)
}

// run returns when the guest has halted at the end of its loop.
func (g *guest) run() error {
	for {
		_, err := ioctl(g.cpu, kvmRun, 0)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue // a signal of the Go runtime
		}
		if err != nil {
			return os.NewSyscallError("KVM_RUN", err)
		}
		break
	}
	if reason := binary.LittleEndian.Uint32(g.state[exitReasonOffset:]); reason != exitHalt {
		return fmt.Errorf("the guest ended with exit reason %d", reason)
	}
	var regs kvmRegs
	if _, err := ioctl(g.cpu, kvmGetRegs, uintptr(unsafe.Pointer(&regs))); err != nil {
		return os.NewSyscallError("KVM_GET_REGS", err)
	}
	if uint32(regs.RCX) != 0 {
		return fmt.Errorf("the guest halted with %d rounds to go", uint32(regs.RCX))
	}
	return nil
}

func ioctl(fd int, request, argument uintptr) (int, error) {
	value, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, argument)
	if errno != 0 {
		return 0, errno
	}
	return int(value), nil
}
