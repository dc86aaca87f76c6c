package seccomp

import (
	"errors"
	"runtime"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

const testArch = runtime.GOARCH

var testAudit = tables[testArch].audit

// interpret runs a filter as the kernel does.
func interpret(t *testing.T, code []Instruction, arch, number uint32, args [6]uint64) uint32 {
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
				pc += int(in.Yes)
			} else {
				pc += int(in.No)
			}
		}
		switch in.Code {
		case loadWord:
			a = load(in.K)
		case and:
			a &= in.K
		case jumpAlways:
			pc += int(in.K)
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
	code := Always(testArch).Program
	for _, test := range []struct {
		number uint32
		family uint64
		want   uint32
	}{
		{unix.SYS_SOCKET, unix.AF_VSOCK, errno(eafnosupport)},
		{unix.SYS_SOCKET, 1<<32 | unix.AF_VSOCK, errno(eafnosupport)}, // the kernel looks at the low half alone
		{unix.SYS_SOCKET, unix.AF_INET, allow},
		{unix.SYS_CONNECT, unix.AF_VSOCK, allow},
	} {
		if got := interpret(t, code, testAudit, test.number, [6]uint64{test.family}); got != test.want {
			t.Errorf("call %d of %#x: %#x, want %#x", test.number, test.family, got, test.want)
		}
	}
	if got := interpret(t, code, testAudit^1, 0, [6]uint64{}); got != killProcess {
		t.Errorf("another testAudit: %#x", got)
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
				{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 2, Value: b, Op: op}, {Index: 0, Value: 7, Op: specs.OpEqualTo}}}}}, testArch)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range values {
				want := uint32(allow)
				if holds(a, b) {
					want = errno(eperm)
				}
				if got := interpret(t, f.Program, testAudit, unix.SYS_READ, [6]uint64{7, 0, a}); got != want {
					t.Errorf("%#x %s %#x: %#x", a, op, b, got)
				}
				if got := interpret(t, f.Program, testAudit, unix.SYS_READ, [6]uint64{8, 0, a}); got != allow {
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
		}}, testArch)
	if err != nil || f.Flags != 2 {
		t.Fatal(err, f.Flags)
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
		want := errno(uint32(code))
		if test.allow {
			want = allow
		}
		if got := interpret(t, f.Program, testAudit, test.number, [6]uint64{test.arg}); got != want {
			t.Errorf("%s: %#x, want %#x", test.name, got, want)
		}
	}
}

func TestWhatCannotBeEnforcedIsRefused(t *testing.T) {
	for _, s := range []*specs.LinuxSeccomp{
		{DefaultAction: specs.ActNotify}, {DefaultAction: specs.ActTrace}, {DefaultAction: specs.ActAllow, ListenerPath: "/x"},
		{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_NEW"}}, {},
	} {
		_, err := Compile(s, testArch)
		if e, ok := errors.AsType[*failure.Error](err); !ok || e.Reason != failure.Unsupported {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for name, want := range map[string]uint32{"read": unix.SYS_READ, "io_uring_setup": unix.SYS_IO_URING_SETUP, "newfstatat": unix.SYS_NEWFSTATAT} {
		if got, ok := Number(testArch, name); !ok || got != want {
			t.Errorf("%s is %d, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "rea", "ead", "READ", "read 0", "\n"} {
		if _, ok := Number(testArch, name); ok {
			t.Errorf("%q is a call", name)
		}
	}
}

func TestCallsNewerThanTheProfileDoNotExist(t *testing.T) {
	f, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "openat2"}, Action: specs.ActAllow}}}, testArch)
	if err != nil {
		t.Fatal(err)
	}
	for number, want := range map[uint32]uint32{
		unix.SYS_OPENAT2: allow, unix.SYS_OPENAT2 - 1: errno(eperm), unix.SYS_OPENAT2 + 1: errno(enosys), firstForeign - 1: errno(enosys), firstForeign: errno(eperm),
	} {
		if got := interpret(t, f.Program, testAudit, number, [6]uint64{}); got != want {
			t.Errorf("call %d: %#x, want %#x", number, got, want)
		}
	}
}

func TestJumpsOverMoreThanAByte(t *testing.T) {
	var calls []specs.LinuxSyscall
	for i := range uint64(100) { // 100 conditions are some 500 instructions
		calls = append(calls, specs.LinuxSyscall{Names: []string{"read", "close"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: i, Op: specs.OpEqualTo}}})
	}
	f, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: calls}, testArch)
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range []uint32{unix.SYS_READ, unix.SYS_CLOSE} {
		for arg, want := range map[uint64]uint32{0: errno(eperm), 99: errno(eperm), 100: allow} {
			if got := interpret(t, f.Program, testAudit, number, [6]uint64{arg}); got != want {
				t.Errorf("call %d of %d: %#x, want %#x", number, arg, got, want)
			}
		}
	}
}

func TestProgramsAreEncodedAsTheKernelHasThem(t *testing.T) {
	program := []Instruction{{Code: 0x0102, Yes: 3, No: 4, K: 0x05060708}, {Code: ret, K: allow}}
	text := Encode(program)
	if want := []byte{2, 1, 3, 4, 8, 7, 6, 5, 6, 0, 0, 0, 0, 0, 0xff, 0x7f}; !slices.Equal(text, want) || Check(text) != nil {
		t.Errorf("%v, want %v", text, want)
	}
	for _, bad := range [][]byte{nil, text[:7], make([]byte, (maxProgram+1)*instructionSize)} {
		if err := Check(bad); err == nil {
			t.Errorf("%d bytes are taken", len(bad))
		}
	}
}
