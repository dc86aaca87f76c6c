// Package seccomp makes system call filters of runtime specs: classic BPF, assembled here (assemble.go), as libseccomp is C. Host and guest use it: the host
// makes a container's filter when it creates it, so that a start only installs it; the guest makes those of specs that come without, and its own.
package seccomp

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

// Linux's numbers of errors; a host may have others.
const eperm, enosys, eafnosupport = 1, 38, 97

var flags = map[specs.LinuxSeccompFlag]uint32{
	specs.LinuxSeccompFlagLog:       1 << 1,
	specs.LinuxSeccompFlagSpecAllow: 1 << 2,
	"SECCOMP_FILTER_FLAG_TSYNC":     0, // there is one thread when a filter is installed
}

var operators = map[specs.LinuxSeccompOperator]operator{
	specs.OpNotEqual: notEqual, specs.OpLessThan: less, specs.OpLessEqual: lessOrEqual, specs.OpEqualTo: equal,
	specs.OpGreaterEqual: greaterOrEqual, specs.OpGreaterThan: greater, specs.OpMaskedEqual: maskedEqual,
}

// Filter is a program for the kernel, and the flags it is installed with (SECCOMP_FILTER_FLAG_*).
type Filter struct {
	Program []Instruction
	Flags   uint32
}

// firstForeign is the first number that is no call of 64 bit programs: those of x32 have this bit.
const firstForeign = 1 << 30

// Compile makes the filter of a spec for an architecture ("amd64", "arm64"). Names that the architecture does not know are passed over, as all runtimes do: profiles
// are written for many architectures and kernels. Calls that are newer than any the spec names do not exist for the container (ENOSYS), where the spec denies what
// it does not name: programs then do without them.
func Compile(s *specs.LinuxSeccomp, arch string) (Filter, error) {
	table, known := tables[arch]
	err := failure.First(
		failure.Unenforced(!known, "linux.seccomp on "+arch),
		failure.Unenforced(s.ListenerPath != "", "linux.seccomp.listenerPath"),
		failure.Unenforced(s.ListenerMetadata != "", "linux.seccomp.listenerMetadata"))
	if err != nil {
		return Filter{}, err
	}
	var f Filter
	for _, name := range s.Flags {
		bit, known := flags[name]
		if err := failure.Unenforced(!known, "linux.seccomp.flags "+string(name)); err != nil {
			return Filter{}, err
		}
		f.Flags |= bit
	}
	otherwise, err := action(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return Filter{}, err
	}
	spans, err := plan(s.Syscalls, table.calls, otherwise)
	if err != nil {
		return Filter{}, err
	}
	f.Program = assemble(table.audit, spans)
	if len(f.Program) > maxProgram {
		return Filter{}, &failure.Error{Reason: failure.Invalid, Op: "make the system call filter",
			Cause: fmt.Errorf("it has %d instructions; the kernel takes %d", len(f.Program), maxProgram)}
	}
	return f, nil
}

// table is an architecture.
type table struct {
	audit uint32 // AUDIT_ARCH_*
	calls string
}

var tables = map[string]table{"amd64": {0xc000003e, callsX86}, "arm64": {0xc00000b7, callsAarch64}}

// plan sorts the rules by call. Neighbours of one fate become one span.
func plan(syscalls []specs.LinuxSyscall, calls string, otherwise uint32) ([]span, error) {
	simple, conditional, err := rules(syscalls, calls)
	if err != nil {
		return nil, err
	}
	fates := map[uint32]*span{}
	for _, r := range slices.Backward(simple) { // the first decides
		fates[r.number] = &span{first: r.number, otherwise: r.action}
	}
	for _, r := range conditional {
		s := fates[r.number]
		if s == nil {
			s = &span{first: r.number, otherwise: otherwise}
			fates[r.number] = s
		}
		s.rules = append(s.rules, r)
	}
	spans := []span{{otherwise: otherwise}}
	add := func(s span) {
		if last := spans[len(spans)-1]; last.first == s.first {
			spans = spans[:len(spans)-1]
		}
		if n := len(spans); n > 0 && len(s.rules) == 0 && len(spans[n-1].rules) == 0 && s.otherwise == spans[n-1].otherwise {
			return // goes on
		}
		spans = append(spans, s)
	}
	for _, number := range slices.Sorted(maps.Keys(fates)) {
		add(*fates[number])
		add(span{first: number + 1, otherwise: otherwise})
	}
	if len(fates) > 0 && otherwise&^0xffff == errnoAction {
		add(span{first: slices.Max(slices.Collect(maps.Keys(fates))) + 1, otherwise: errno(enosys)})
		add(span{first: firstForeign, otherwise: otherwise})
	}
	return spans, nil
}

// rules returns the rules without conditions, and those with conditions, which come first, in order.
func rules(syscalls []specs.LinuxSyscall, calls string) (simple, conditional []rule, err error) {
	find := finder(syscalls, calls)
	for _, s := range syscalls {
		act, err := action(s.Action, s.ErrnoRet)
		if err != nil {
			return nil, nil, err
		}
		alternatives, err := conditions(s.Args)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range s.Names {
			number, known := find(name)
			if !known {
				continue
			}
			if alternatives == nil {
				simple = append(simple, rule{number: number, action: act})
			}
			for _, all := range alternatives {
				conditional = append(conditional, rule{number: number, action: act, conditions: all})
			}
		}
	}
	return simple, conditional, nil
}

// conditions returns alternatives of conditions that must all be met: one, or, where an argument occurs more than once, as many as there are conditions.
// That is how libseccomp's users have always read the spec.
func conditions(args []specs.LinuxSeccompArg) (alternatives [][]condition, err error) {
	var all []condition
	repeated := false
	var seen [6]bool
	for _, a := range args {
		op, known := operators[a.Op]
		if !known || a.Index > 5 {
			return nil, fmt.Errorf("linux.seccomp has argument %d with operator %.40q", a.Index, a.Op)
		}
		repeated = repeated || seen[a.Index]
		seen[a.Index] = true
		c := condition{index: uint32(a.Index), op: op, value: a.Value}
		if op == maskedEqual {
			c.mask, c.value = a.Value, a.ValueTwo
		}
		all = append(all, c)
	}
	switch {
	case len(all) == 0:
		return nil, nil
	case !repeated:
		return [][]condition{all}, nil
	}
	for _, c := range all {
		alternatives = append(alternatives, []condition{c})
	}
	return alternatives, nil
}

func action(a specs.LinuxSeccompAction, code *uint) (uint32, error) {
	switch a {
	case specs.ActAllow:
		return allow, nil
	case specs.ActErrno:
		e := uint(eperm)
		if code != nil {
			e = *code
		}
		if e > 4095 {
			return 0, errors.New("linux.seccomp has an errno above 4095")
		}
		return errno(uint32(e)), nil
	case specs.ActKill, specs.ActKillThread:
		return killThread, nil
	case specs.ActKillProcess:
		return killProcess, nil
	case specs.ActTrap:
		return trap, nil
	case specs.ActLog:
		return logAction, nil
	}
	return 0, failure.Unenforced(true, fmt.Sprintf("linux.seccomp action %.40q", a))
}

// Number returns the number of a system call on an architecture.
func Number(arch, name string) (uint32, bool) { return number(tables[arch].calls, name) }

// finder returns number, or what is faster for many names.
func finder(syscalls []specs.LinuxSyscall, calls string) func(name string) (uint32, bool) {
	names := 0
	for _, s := range syscalls {
		names += len(s.Names)
	}
	const many = 32
	if names < many {
		return func(name string) (uint32, bool) { return number(calls, name) }
	}
	numbers := make(map[string]uint32, strings.Count(calls, "\n"))
	for line := range strings.Lines(calls) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(text, 10, 32); err == nil {
			numbers[name] = uint32(n)
		}
	}
	return func(name string) (uint32, bool) {
		n, known := numbers[name]
		return n, known
	}
}

// number looks a call up. The names are one string, searched as needed: a map would be filled at every start of vminitd.
func number(calls, name string) (uint32, bool) {
	if name == "" || strings.ContainsAny(name, " \n") {
		return 0, false
	}
	_, rest, found := strings.Cut(calls, "\n"+name+" ")
	if !found {
		return 0, false
	}
	text, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}

// Always is the filter of every container. vsock has no namespace: a container that may open such sockets could listen where the host expects vminitd, or speak to
// the host. io_uring makes sockets past any filter; other runtimes' default profiles refuse it as well.
func Always(arch string) Filter {
	socket, _ := Number(arch, "socket")
	uring, _ := Number(arch, "io_uring_setup")
	vsock := rule{number: socket, action: errno(eafnosupport), conditions: []condition{{index: 0, op: maskedEqual, mask: 0xffff_ffff, value: afVsock}}}
	return Filter{Program: assemble(tables[arch].audit, []span{{otherwise: allow}, // the numbers rise so on both architectures
		{first: socket, rules: []rule{vsock}, otherwise: allow}, {first: socket + 1, otherwise: allow},
		{first: uring, otherwise: errno(enosys)}, {first: uring + 1, otherwise: allow}})}
}

const afVsock = 40
