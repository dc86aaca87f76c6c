package helper

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
	"github.com/vzctl/vzctl/guest/vminitd/seccomp"
)

// limit gives the thread the user's identity and takes away what the process shall not have. The order is that of need: each step still
// has the privilege it needs.
func limit(p *specs.Process, a account, filters []Filter) error {
	unix.Umask(a.mask())
	caps, err := parseCapabilities(p.Capabilities)
	if err != nil {
		return err
	}
	if err := setRlimits(p.Rlimits); err != nil {
		return err
	}
	if !p.NoNewPrivileges { // then only CAP_SYS_ADMIN may
		if err := install(filters); err != nil {
			return err
		}
	}
	if err := boundThread(caps); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := assume(a); err != nil {
		return err
	}
	if err := caps.Apply(capability.CAPS | capability.AMBS); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	if !p.NoNewPrivileges {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return install(filters)
}

func install(filters []Filter) error {
	for _, f := range filters {
		if err := seccomp.Install(f.Program, f.Flags); err != nil {
			return err
		}
	}
	return nil
}

// assume changes the identity of this thread alone; package syscall's functions would change all threads'. Capabilities stay for the moment.
func assume(a account) error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return err
	}
	groups := make([]uint32, len(a.groups), len(a.groups)+1)
	for i, g := range a.groups {
		groups[i] = uint32(g)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[:1][0])), 0); errno != 0 {
		return fmt.Errorf("set groups: %w", errno)
	}
	gid, uid := uintptr(a.gid), uintptr(a.uid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("become group %d: %w", a.gid, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("become user %d: %w", a.uid, errno)
	}
	return unix.Prctl(unix.PR_SET_KEEPCAPS, 0, 0, 0, 0)
}

// parseCapabilities knows the names of runtime specs. None given are none granted.
func parseCapabilities(c *specs.LinuxCapabilities) (capability.Capabilities, error) {
	sets, err := capability.NewPid2(0)
	if err != nil {
		return nil, err
	}
	sets.Clear(capability.CAPS | capability.BOUNDS | capability.AMBS)
	if c == nil {
		return sets, nil
	}
	known := map[string]capability.Cap{}
	for _, c := range capability.ListKnown() {
		known["CAP_"+strings.ToUpper(c.String())] = c
	}
	for _, set := range []struct {
		kind  capability.CapType
		names []string
	}{
		{capability.BOUNDING, c.Bounding}, {capability.PERMITTED, c.Permitted}, {capability.EFFECTIVE, c.Effective},
		{capability.INHERITABLE, c.Inheritable}, {capability.AMBIENT, c.Ambient},
	} {
		for _, name := range set.names {
			value, ok := known[name]
			if !ok {
				return nil, &failure.Error{Reason: failure.Invalid, Op: "set capability", Subject: name, Cause: errors.New("there is none of that name")}
			}
			sets.Set(set.kind, value)
		}
	}
	return sets, nil
}

// The limits of open files where the spec says nothing: what systemd gives a service. Many programs still keep one bit for each of 1024 files, or
// close all there may be.
const softFiles, hardFiles = 1024, 524288

func setRlimits(limits []specs.POSIXRlimit) error {
	if slices.ContainsFunc(limits, func(l specs.POSIXRlimit) bool { return l.Type == "RLIMIT_AS" || l.Type == "RLIMIT_DATA" }) {
		provision()
	}
	for _, l := range allRlimits(limits) {
		resource, known := rlimitNumber(l.Type)
		if !known {
			return &failure.Error{Reason: failure.Invalid, Op: "set limit", Subject: l.Type, Cause: errors.New("there is none of that name")}
		}
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return &failure.Error{Reason: failure.Invalid, Op: "set limit", Subject: l.Type, Cause: err}
		}
	}
	return nil
}

// provision has Go's runtime own what it will need: a process of Go has a gigabyte of addresses, so under a limit of them it has to do with the memory that it has. That is not memory for objects alone, but
// also for its lists of full spans, of which there is one for each size, with pointers and without, and another such set after each collection.
func provision() {
	const span = 8 << 10
	for range 2 {
		var objects [][]byte
		var pointers [][]*byte
		for size := 8; size <= span; size += max(8, size/8) {
			for range span/size + 2 { // which is more than a span has
				objects, pointers = append(objects, make([]byte, size)), append(pointers, make([]*byte, size/8))
			}
		}
		const large = 512 << 10
		objects, pointers = append(objects, make([]byte, large)), append(pointers, make([]*byte, large/8))
		runtime.KeepAlive(objects)
		runtime.KeepAlive(pointers)
		runtime.GC()
	}
}

// allRlimits are those of a spec, and before them that of open files, unless the spec has it: in a user namespace what was lower cannot become higher.
func allRlimits(limits []specs.POSIXRlimit) []specs.POSIXRlimit {
	const files = "RLIMIT_NOFILE"
	if slices.ContainsFunc(limits, func(l specs.POSIXRlimit) bool { return l.Type == files }) {
		return limits
	}
	return append([]specs.POSIXRlimit{{Type: files, Soft: softFiles, Hard: hardFiles}}, limits...)
}

func rlimitNumber(name string) (int, bool) {
	names := [...]string{"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
		"MSGQUEUE", "NICE", "RTPRIO", "RTTIME"} // in the order of their numbers, on amd64 and arm64
	for number, known := range names {
		if name == "RLIMIT_"+known {
			return number, true
		}
	}
	return 0, false
}
