package seccomp

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

var flags = map[specs.LinuxSeccompFlag]uintptr{
	specs.LinuxSeccompFlagLog:       unix.SECCOMP_FILTER_FLAG_LOG,
	specs.LinuxSeccompFlagSpecAllow: unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
	"SECCOMP_FILTER_FLAG_TSYNC":     0, // there is one thread when a filter is installed
}

var operators = map[specs.LinuxSeccompOperator]operator{
	specs.OpNotEqual: notEqual, specs.OpLessThan: less, specs.OpLessEqual: lessOrEqual, specs.OpEqualTo: equal,
	specs.OpGreaterEqual: greaterOrEqual, specs.OpGreaterThan: greater, specs.OpMaskedEqual: maskedEqual,
}

// Compile makes the filter of a spec. Names that the architecture does not know are passed over, as all runtimes do: profiles are written
// for many architectures and kernels.
func Compile(s *specs.LinuxSeccomp) (Filter, error) {
	err := failure.First(
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
		f.flags |= bit
	}
	otherwise, err := action(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return Filter{}, err
	}
	simple, conditional, err := rules(s.Syscalls)
	if err != nil {
		return Filter{}, err
	}
	b := begin()
	for _, r := range conditional {
		b.rule(r)
	}
	for len(simple) > 0 { // neighbours of one fate become an interval: every call of the container walks through the program
		n := 1
		for n < len(simple) && simple[n].number == simple[n-1].number+1 && simple[n].action == simple[0].action {
			n++
		}
		b.interval(simple[0].number, simple[n-1].number, simple[0].action)
		simple = simple[n:]
	}
	f.code = b.end(otherwise)
	if len(f.code) > maxProgram {
		return Filter{}, fmt.Errorf("linux.seccomp needs %d instructions; the kernel takes %d", len(f.code), maxProgram)
	}
	return f, nil
}

// rules returns the rules without conditions, sorted and one for each call, and those with conditions, in order.
func rules(syscalls []specs.LinuxSyscall) (simple, conditional []rule, err error) {
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
			number, known := Number(name)
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
	slices.SortStableFunc(simple, func(a, b rule) int { return int(a.number) - int(b.number) })
	simple = slices.CompactFunc(simple, func(a, b rule) bool { return a.number == b.number })
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
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		e := unix.EPERM
		if code != nil {
			e = unix.Errno(*code)
		}
		if e > 4095 {
			return 0, errors.New("linux.seccomp has an errno above 4095")
		}
		return errno(e), nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	}
	return 0, failure.Unenforced(true, fmt.Sprintf("linux.seccomp action %.40q", a))
}

// Number returns the number of a system call. The names are one string, searched as needed: a map would be filled at every start of vminitd.
func Number(name string) (uint32, bool) {
	if name == "" || strings.ContainsAny(name, " \n") {
		return 0, false
	}
	_, rest, found := strings.Cut(names, "\n"+name+" ")
	if !found {
		return 0, false
	}
	text, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}
