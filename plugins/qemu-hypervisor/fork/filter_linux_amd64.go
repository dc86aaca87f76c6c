package fork

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// An original has to be able to fork, which a process that may have been taken over by its guest must not: neither the original's copies nor anybody who gets into it. So
// from when it is taken, a fork is allowed to who knows a secret, that is in the sixth argument of the call, which the kernel does not look at. Only this package knows it, and no copy has it: the filter
// is in the kernel, and a copy's registers are set to others before it runs.

// detached is a flag of threads that some C libraries set, and the kernel does not look at.
const detached = 0x400000

// filter is a program over struct seccomp_data that allows threads, but no other programs, no other namespaces, and no processes without the secret.
func filter(secret uint64) []unix.SockFilter {
	const (
		number, arch, flagsLow = 0, 4, 16
		sixthLow, sixthHigh    = 16 + 5*8, 16 + 5*8 + 4
	)
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	end := func(action uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET, K: action} }
	jump := func(kind uint16, value uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | kind | unix.BPF_K, K: value, Jt: yes, Jf: no}
	}
	kill, allow := end(unix.SECCOMP_RET_KILL_PROCESS), end(unix.SECCOMP_RET_ALLOW)
	return []unix.SockFilter{
		load(arch), jump(unix.BPF_JEQ, unix.AUDIT_ARCH_X86_64, 1, 0), kill,
		load(number),
		jump(unix.BPF_JGE, 1<<30, 0, 1), kill, // x32
		jump(unix.BPF_JEQ, unix.SYS_EXECVE, 5, 0), jump(unix.BPF_JEQ, unix.SYS_EXECVEAT, 4, 0), jump(unix.BPF_JEQ, unix.SYS_FORK, 3, 0), jump(unix.BPF_JEQ, unix.SYS_VFORK, 2, 0),
		jump(unix.BPF_JEQ, unix.SYS_SETNS, 1, 0), jump(unix.BPF_JEQ, unix.SYS_UNSHARE, 0, 1), kill,
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), end(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)), // its flags cannot be seen; C libraries go on with clone
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 1, 0), allow,
		load(flagsLow), {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: ^uint32(detached)}, jump(unix.BPF_JEQ, cloneThread, 0, 1), allow,
		load(sixthLow), jump(unix.BPF_JEQ, uint32(secret), 1, 0), kill,
		load(sixthHigh), jump(unix.BPF_JEQ, uint32(secret>>32), 1, 0), kill,
		allow,
	}
}

// restrict puts the filter on all threads of a stopped process, and returns the secret.
func restrict(main *thread, memory memory, gadget uint64) (secret uint64, err error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return 0, err
	}
	secret = binary.LittleEndian.Uint64(random[:])
	var program bytes.Buffer
	if err := binary.Write(&program, binary.LittleEndian, filter(secret)); err != nil {
		return 0, err
	}
	at := main.scratch()
	header := make([]byte, 16)
	binary.LittleEndian.PutUint16(header, uint16(program.Len()/8))
	binary.LittleEndian.PutUint64(header[8:], at+16)
	if err := memory.write(at, append(header, program.Bytes()...)); err != nil {
		return 0, err
	}
	if _, err := main.call(gadget, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	failed, err := main.call(gadget, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, at)
	if err == nil && failed != 0 {
		err = fmt.Errorf("thread %d does not take the filter", failed)
	}
	if err != nil {
		return 0, fmt.Errorf("restrict the original: %w", err)
	}
	return secret, memory.write(at, make([]byte, 16+program.Len())) // the secret is in it
}
