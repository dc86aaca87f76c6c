package fork

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// run returns what a filter does with a system call. The kernel reads numbers as the machine has them, package bpf as networks do, so they are written that way here.
func run(t *testing.T, program []unix.SockFilter, arch, number uint32, arguments [6]uint64) uint32 {
	t.Helper()
	var raw []bpf.RawInstruction
	for _, i := range program {
		raw = append(raw, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter has an unknown instruction")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	data := binary.BigEndian.AppendUint32(nil, number)
	data = binary.BigEndian.AppendUint32(data, arch)
	data = append(data, make([]byte, 8)...) // instruction pointer
	for _, a := range arguments {
		data = binary.BigEndian.AppendUint32(data, uint32(a))
		data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
	}
	action, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(action)
}

func TestOnlyWhoKnowsTheSecretForks(t *testing.T) {
	const (
		secret  = 0xfedc_ba98_7654_3210
		threads = cloneThread
		native  = unix.AUDIT_ARCH_X86_64
		allow   = unix.SECCOMP_RET_ALLOW
		kill    = unix.SECCOMP_RET_KILL_PROCESS & 0xffffffff
	)
	program := filter(secret)
	for name, c := range map[string]struct {
		arch, number uint32
		arguments    [6]uint64
		want         uint32
	}{
		"read":                              {native, unix.SYS_READ, [6]uint64{}, allow},
		"a thread":                          {native, unix.SYS_CLONE, [6]uint64{threads}, allow},
		"a thread of another C library":     {native, unix.SYS_CLONE, [6]uint64{threads | detached}, allow},
		"a thread in namespaces of its own": {native, unix.SYS_CLONE, [6]uint64{threads | unix.CLONE_NEWUTS}, kill},
		"a thread that traces":              {native, unix.SYS_CLONE, [6]uint64{threads | unix.CLONE_PTRACE}, kill},
		"other namespaces":                  {native, unix.SYS_UNSHARE, [6]uint64{unix.CLONE_NEWUSER}, kill},
		"another's namespaces":              {native, unix.SYS_SETNS, [6]uint64{}, kill},
		"a fork with the secret":            {native, unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD), 0, 0, 0, 0, secret}, allow},
		"a fork":                            {native, unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD)}, kill},
		"a fork with half of it":            {native, unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD), 0, 0, 0, 0, secret & 0xffffffff}, kill},
		"a fork with the other half":        {native, unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD), 0, 0, 0, 0, secret &^ 0xffffffff}, kill},
		"the other way to fork":             {native, unix.SYS_FORK, [6]uint64{5: secret}, kill},
		"a third":                           {native, unix.SYS_VFORK, [6]uint64{5: secret}, kill},
		"a way whose flags are not seen":    {native, unix.SYS_CLONE3, [6]uint64{5: secret}, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		"another program":                   {native, unix.SYS_EXECVE, [6]uint64{5: secret}, kill},
		"another program by its descriptor": {native, unix.SYS_EXECVEAT, [6]uint64{5: secret}, kill},
		"32 bits":                           {unix.AUDIT_ARCH_I386, 11, [6]uint64{5: secret}, kill},
		"x32":                               {native, 1<<30 | 520, [6]uint64{5: secret}, kill},
	} {
		if got := run(t, program, c.arch, c.number, c.arguments); got != c.want {
			t.Errorf("%s: %#x, not %#x", name, got, c.want)
		}
	}
}
