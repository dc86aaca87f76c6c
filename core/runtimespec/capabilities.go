package runtimespec

import (
	"errors"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/sdk/fault"
)

// defaultCapabilities are the fourteen that container engines grant.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// allCapabilities are those of Linux, in the order of their numbers.
var allCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
}

// everything is the name of all capabilities.
const everything = "ALL"

// Capabilities returns those that bound the container, sorted. As with other engines, what is dropped by name goes, and then what is added by name comes;
// ALL of either makes room for exceptions of the other.
func (i Isolation) Capabilities() ([]string, error) {
	add, err := capabilityNames("add", i.CapAdd)
	if err != nil {
		return nil, err
	}
	drop, err := capabilityNames("drop", i.CapDrop)
	if err != nil {
		return nil, err
	}
	dropped := func(name string) bool { return slices.Contains(drop, name) }
	granted := slices.Clone(defaultCapabilities)
	switch {
	case i.Privileged:
		granted = slices.Clone(allCapabilities)
	case slices.Contains(add, everything):
		granted = slices.DeleteFunc(slices.Clone(allCapabilities), dropped)
	case slices.Contains(drop, everything):
		granted = add
	default:
		granted = append(slices.DeleteFunc(granted, dropped), add...)
	}
	slices.Sort(granted)
	return slices.Compact(granted), nil
}

// Privileged gives a process all capabilities.
func Privileged(p *specs.Process) {
	all := slices.Sorted(slices.Values(allCapabilities))
	p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Permitted: all, Effective: all}
}

// capabilityNames completes names: "net_admin" and "CAP_NET_ADMIN" are the same.
func capabilityNames(verb string, names []string) (full []string, err error) {
	for _, name := range names {
		upper := strings.ToUpper(name)
		if upper != everything && !strings.HasPrefix(upper, "CAP_") {
			upper = "CAP_" + upper
		}
		if upper != everything && !slices.Contains(allCapabilities, upper) {
			return nil, &fault.Error{Reason: fault.Invalid, Op: verb + " capability", Subject: name, Cause: errors.New("there is none of that name"),
				Hint: "capabilities(7) lists them; ALL is all of them"}
		}
		full = append(full, upper)
	}
	return full, nil
}
