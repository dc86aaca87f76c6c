package seccomp

import (
	"errors"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

// interpret runs a filter as the kernel does.
func interpret(t *testing.T, code []unix.SockFilter, arch, number uint32, args [6]uint64) uint32 {
	t.Helper()
	load := func(offset uint32) uint32 {
		switch {
		case offset == offsetNumber:
			return number
		case offset == offsetArch:
			return arch
		}
		arg := args[(offset-offsetArgs)/8]
		return uint32(arg >> (8 * (offset % 8)))
	}
	var a uint32
	for pc := 0; pc < len(code); pc++ {
		in := code[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case loadWord:
			a = load(in.K)
		case and:
			a &= in.K
		case jumpEqual:
			jump(a == in.K)
		case jumpGreater:
			jump(a > in.K)
		case jumpAtLeast:
			jump(a >= in.K)
		case ret:
			return in.K
		default:
			t.Fatalf("instruction %#x", in.Code)
		}
	}
	t.Fatal("the program runs over its end")
	return 0
}

func TestVsockIsAlwaysDenied(t *testing.T) {
	code := Always().code
	for _, test := range []struct {
		number uint32
		family uint64
		want   uint32
	}{
		{unix.SYS_SOCKET, unix.AF_VSOCK, errno(unix.EAFNOSUPPORT)},
		{unix.SYS_SOCKET, 1<<32 | unix.AF_VSOCK, errno(unix.EAFNOSUPPORT)}, // the kernel looks at the low half alone
		{unix.SYS_SOCKET, unix.AF_INET, unix.SECCOMP_RET_ALLOW},
		{unix.SYS_CONNECT, unix.AF_VSOCK, unix.SECCOMP_RET_ALLOW},
	} {
		if got := interpret(t, code, architecture, test.number, [6]uint64{test.family}); got != test.want {
			t.Errorf("call %d of %#x: %#x, want %#x", test.number, test.family, got, test.want)
		}
	}
	if got := interpret(t, code, architecture^1, 0, [6]uint64{}); got != unix.SECCOMP_RET_KILL_PROCESS {
		t.Errorf("another architecture: %#x", got)
	}
}

func TestEachOperatorComparesAllSixtyFourBits(t *testing.T) {
	values := []uint64{0, 1, 5, 1 << 32, 1<<32 | 5, 5 << 32, 1<<63 | 5, ^uint64(0)}
	compare := map[specs.LinuxSeccompOperator]func(a, b uint64) bool{
		specs.OpEqualTo:      func(a, b uint64) bool { return a == b },
		specs.OpNotEqual:     func(a, b uint64) bool { return a != b },
		specs.OpLessThan:     func(a, b uint64) bool { return a < b },
		specs.OpLessEqual:    func(a, b uint64) bool { return a <= b },
		specs.OpGreaterThan:  func(a, b uint64) bool { return a > b },
		specs.OpGreaterEqual: func(a, b uint64) bool { return a >= b },
	}
	for op, holds := range compare {
		for _, b := range values {
			f, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 2, Value: b, Op: op}, {Index: 0, Value: 7, Op: specs.OpEqualTo}}}}})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range values {
				want := uint32(unix.SECCOMP_RET_ALLOW)
				if holds(a, b) {
					want = errno(unix.EPERM)
				}
				if got := interpret(t, f.code, architecture, unix.SYS_READ, [6]uint64{7, 0, a}); got != want {
					t.Errorf("%#x %s %#x: %#x", a, op, b, got)
				}
				if got := interpret(t, f.code, architecture, unix.SYS_READ, [6]uint64{8, 0, a}); got != unix.SECCOMP_RET_ALLOW {
					t.Errorf("the second condition is not looked at")
				}
			}
		}
	}
}

func TestProfiles(t *testing.T) {
	code := uint(38)
	f, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &code, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write", "openat", "no_such_call"}, Action: specs.ActAllow},
			{Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
				{Index: 0, Value: 1, Op: specs.OpEqualTo}, {Index: 0, Value: 2, Op: specs.OpEqualTo}}},
			{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 0x7e020000, ValueTwo: 0, Op: specs.OpMaskedEqual}}},
		}})
	if err != nil || f.flags != unix.SECCOMP_FILTER_FLAG_LOG {
		t.Fatal(err, f.flags)
	}
	for _, test := range []struct {
		name   string
		number uint32
		arg    uint64
		allow  bool
	}{
		{"first of a run", unix.SYS_READ, 0, true}, {"its neighbour", unix.SYS_WRITE, 0, true}, {"apart", unix.SYS_OPENAT, 0, true},
		{"not named", unix.SYS_MOUNT, 0, false}, {"one alternative", unix.SYS_SOCKET, 1, true}, {"the other", unix.SYS_SOCKET, 2, true},
		{"neither", unix.SYS_SOCKET, 3, false}, {"masked bits clear", unix.SYS_CLONE, 0x11, true}, {"masked bits set", unix.SYS_CLONE, 0x10000000, false},
		{"x32", unix.SYS_READ | 1<<30, 0, false},
	} {
		want := errno(unix.Errno(code))
		if test.allow {
			want = unix.SECCOMP_RET_ALLOW
		}
		if got := interpret(t, f.code, architecture, test.number, [6]uint64{test.arg}); got != want {
			t.Errorf("%s: %#x, want %#x", test.name, got, want)
		}
	}
}

func TestWhatCannotBeEnforcedIsRefused(t *testing.T) {
	for _, s := range []*specs.LinuxSeccomp{
		{DefaultAction: specs.ActNotify}, {DefaultAction: specs.ActTrace}, {DefaultAction: specs.ActAllow, ListenerPath: "/x"},
		{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_NEW"}}, {},
	} {
		_, err := Compile(s)
		if e, ok := errors.AsType[*failure.Error](err); !ok || e.Reason != failure.Unsupported {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for name, want := range map[string]uint32{"read": unix.SYS_READ, "io_uring_setup": unix.SYS_IO_URING_SETUP, "newfstatat": unix.SYS_NEWFSTATAT} {
		if got, ok := Number(name); !ok || got != want {
			t.Errorf("%s is %d, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "rea", "ead", "READ", "read 0", "\n"} {
		if _, ok := Number(name); ok {
			t.Errorf("%q is a call", name)
		}
	}
}
