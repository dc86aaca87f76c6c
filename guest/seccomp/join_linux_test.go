package seccomp

import (
	"encoding/binary"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// decoded is the opposite of Encode.
func decoded(text []byte) (program []Instruction) {
	for ; len(text) > 0; text = text[instructionSize:] {
		program = append(program, Instruction{Code: binary.LittleEndian.Uint16(text), Yes: text[2], No: text[3], K: binary.LittleEndian.Uint32(text[4:])})
	}
	return program
}

func compiled(t *testing.T, otherwise specs.LinuxSeccompAction, rules ...specs.LinuxSyscall) []Instruction {
	t.Helper()
	f, err := Compile(&specs.LinuxSeccomp{DefaultAction: otherwise, Syscalls: rules}, testArch)
	if err != nil {
		t.Fatal(err)
	}
	return f.Program
}

// Every call, with arguments that matter to one of the two, has the more severe answer of the two.
func TestAJoinedProgramAnswersAsBoth(t *testing.T) {
	always := Always(testArch).Program
	for name, own := range map[string][]Instruction{
		"that denies most": compiled(t, specs.ActErrno, specs.LinuxSyscall{Names: []string{"read", "write", "socket", "connect"}, Action: specs.ActAllow}),
		"that kills for sockets": compiled(t, specs.ActAllow, specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActKillProcess},
			specs.LinuxSyscall{Names: []string{"mount"}, Action: specs.ActTrap}),
		"with conditions": compiled(t, specs.ActErrno, specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: unix.AF_INET, Op: specs.OpNotEqual}}}),
		"that allows all": compiled(t, specs.ActAllow),
	} {
		t.Run(name, func(t *testing.T) {
			text, ok := Join(Encode(own), Encode(always))
			if !ok {
				t.Fatal("they are not joined")
			}
			joined := decoded(text)
			for number := range uint32(600) {
				for _, family := range []uint64{0, unix.AF_INET, unix.AF_VSOCK, 1<<32 | unix.AF_VSOCK} {
					for _, arch := range []uint32{testAudit, testAudit + 1} {
						args := [6]uint64{family}
						first, second := interpret(t, own, arch, number, args), interpret(t, always, arch, number, args)
						want := first
						if first == allow {
							want = second
						}
						if got := interpret(t, joined, arch, number, args); got != want {
							t.Fatalf("call %d of %#x: %#x, want %#x of %#x and %#x", number, family, got, want, first, second)
						}
					}
				}
			}
		})
	}
}

func TestWhatOneProgramCannotSayStaysTwo(t *testing.T) {
	always := Encode(Always(testArch).Program)
	for name, own := range map[string][]byte{
		"that only logs":        Encode(compiled(t, specs.ActLog)),
		"that asks a tracer":    Encode([]Instruction{{Code: ret, K: 0x7ff00000}}),
		"that asks a listener":  Encode([]Instruction{{Code: ret, K: 0x7fc00000}}),
		"that returns a result": Encode([]Instruction{{Code: loadWord, K: offsetNumber}, {Code: 0x16}}),
		"that is too long":      make([]byte, maxProgram*instructionSize),
	} {
		if _, ok := Join(own, always); ok {
			t.Errorf("a program %s was joined", name)
		}
	}
}
