package runtimespec

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Isolation is what a container's processes may do and see, where that is not as usual. The zero value is the usual.
type Isolation struct {
	// Privileged grants all capabilities and devices, and protects no path.
	Privileged      bool
	CapAdd, CapDrop []string // names with or without CAP_, or ALL
	NoNewPrivileges bool
	Ulimits         []string // TYPE=SOFT[:HARD]
	Sysctls         map[string]string
	// UIDMap and GIDMap, CONTAINER:VM:SIZE each, have the container be in a user namespace of its own. One without the other is of both.
	UIDMap, GIDMap []string
	// Groups are numbers or names in the container's /etc/group.
	Groups      []string
	OOMScoreAdj *int
	// ShmBytes is the size of /dev/shm, 0 is 64 MiB.
	ShmBytes uint64
	Tmpfs    []string // DST[:OPTION,...]
	// PidsLimit is how many tasks the container may have; 0 and less do not limit.
	PidsLimit int64
	// CPUThousandths is how much of its VM's CPUs the container may use; 0: all.
	CPUThousandths uint32
	// CPUSet are the CPUs of its VM that the container may use, like "0-2,5"; empty: all.
	CPUSet string
	// CPUShares weighs the container against others of its VM, 2 to 262144; 0 leaves it.
	CPUShares uint64
	// MemorySwap limits memory and swap together; 0 says nothing, -1 does not limit.
	MemorySwap int64
}

// apply changes a usual spec.
func (i Isolation) apply(spec *specs.Spec) (err error) {
	p, l := spec.Process, spec.Linux
	if i.Privileged {
		i.unlock(spec)
	}
	p.NoNewPrivileges = i.NoNewPrivileges
	if p.Rlimits, err = rlimits(i.Ulimits); err != nil {
		return err
	}
	if i.OOMScoreAdj != nil {
		if *i.OOMScoreAdj < -1000 || *i.OOMScoreAdj > 1000 {
			return invalid("set OOM score adjustment", strconv.Itoa(*i.OOMScoreAdj), "it is not from -1000 to 1000")
		}
		p.OOMScoreAdj = i.OOMScoreAdj
	}
	for name, value := range i.Sysctls {
		if !namespaced(name) {
			return invalid("set sysctl", name, "it is not the container's own", "use net.*, fs.mqueue.*, or one of kernel."+strings.Join(ipcSysctls, ", "))
		}
		if l.Sysctl == nil {
			l.Sysctl = map[string]string{}
		}
		l.Sysctl[dotted(name)] = value
	}
	for _, group := range i.Groups {
		if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
			p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(gid))
		}
	}
	if err := i.mapIDs(spec); err != nil {
		return err
	}
	if i.ShmBytes > 0 {
		setShmSize(spec.Mounts, i.ShmBytes)
	}
	for _, text := range i.Tmpfs {
		m, err := tmpfs(text)
		if err != nil {
			return err
		}
		spec.Mounts = append(slices.DeleteFunc(spec.Mounts, func(other specs.Mount) bool { return other.Destination == m.Destination }), m)
	}
	// In whatever order they were written: what is mounted later must not hide what lies deeper.
	sortMounts(spec.Mounts)
	return i.limit(l.Resources)
}

// NamedGroups are the groups that only the container can look up.
func (i Isolation) NamedGroups() (names []string) {
	for _, group := range i.Groups {
		if _, err := strconv.ParseUint(group, 10, 31); err != nil {
			names = append(names, group)
		}
	}
	return names
}

func (i Isolation) limit(r *specs.LinuxResources) error {
	if i.PidsLimit > 0 {
		r.Pids = &specs.LinuxPids{Limit: &i.PidsLimit}
	}
	if i.CPUThousandths > 0 {
		r.CPU = cpuTime(uint64(i.CPUThousandths))
	}
	if i.CPUShares != 0 {
		if err := checkShares(i.CPUShares); err != nil {
			return err
		}
		if r.CPU == nil {
			r.CPU = &specs.LinuxCPU{}
		}
		r.CPU.Shares = &i.CPUShares
	}
	if i.CPUSet != "" {
		if r.CPU == nil {
			r.CPU = &specs.LinuxCPU{}
		}
		r.CPU.Cpus = i.CPUSet
	}
	if i.MemorySwap != 0 {
		if r.Memory == nil || r.Memory.Limit == nil || i.MemorySwap > 0 && i.MemorySwap < *r.Memory.Limit || i.MemorySwap < -1 {
			return invalid("limit memory and swap", strconv.FormatInt(i.MemorySwap, 10), "it is less than the memory alone")
		}
		r.Memory.Swap = &i.MemorySwap
	}
	return nil
}

// unlock takes away what hides the machine. What remains is the VM's: it is the container's alone.
func (i Isolation) unlock(spec *specs.Spec) {
	spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
	spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Type: "a", Access: "rwm"}}
	for n, m := range spec.Mounts {
		if m.Type == "sysfs" || m.Type == "cgroup" {
			spec.Mounts[n].Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" })
		}
	}
}

// ulimitTypes by the name that users write.
var ulimitTypes = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
	"sigpending", "stack"}

// rlimits reads TYPE=SOFT[:HARD]. The last of a type counts.
func rlimits(texts []string) (limits []specs.POSIXRlimit, err error) {
	for _, text := range texts {
		name, values, _ := strings.Cut(text, "=")
		if !slices.Contains(ulimitTypes, name) {
			return nil, invalid("set ulimit", text, "there is no "+strconv.Quote(name), "use one of "+strings.Join(ulimitTypes, ", "))
		}
		softText, hardText, both := strings.Cut(values, ":")
		if !both {
			hardText = softText
		}
		soft, softErr := rlimitValue(softText)
		hard, hardErr := rlimitValue(hardText)
		switch {
		case softErr != nil || hardErr != nil:
			return nil, invalid("set ulimit", text, "a value is no number", "write TYPE=SOFT[:HARD], with -1 for unlimited")
		case soft > hard:
			return nil, invalid("set ulimit", text, "the soft limit is above the hard one")
		}
		kind := "RLIMIT_" + strings.ToUpper(name)
		limits = slices.DeleteFunc(limits, func(l specs.POSIXRlimit) bool { return l.Type == kind })
		limits = append(limits, specs.POSIXRlimit{Type: kind, Soft: soft, Hard: hard})
	}
	return limits, nil
}

func rlimitValue(text string) (uint64, error) {
	if text == "-1" || text == "unlimited" {
		return ^uint64(0), nil
	}
	return strconv.ParseUint(text, 10, 64)
}

// ipcSysctls are those of kernel.* that each IPC namespace has of its own.
var ipcSysctls = []string{"msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"}

// namespaced says whether a sysctl is the container's: of its IPC namespace, or of the network, which is its VM's.
func namespaced(name string) bool {
	name = strings.ReplaceAll(name, "/", ".")
	if strings.Contains(name, "..") {
		return false
	}
	if kernel, ok := strings.CutPrefix(name, "kernel."); ok {
		return slices.Contains(ipcSysctls, kernel)
	}
	return strings.HasPrefix(name, "net.") || strings.HasPrefix(name, "fs.mqueue.")
}

// dotted is the name with dots between its parts. As with sysctl(8) the first separator decides which one that is; the other stands for a dot within a part.
func dotted(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '/' {
		return strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	return name
}

func setShmSize(mounts []specs.Mount, size uint64) {
	for n, m := range mounts {
		if m.Destination != "/dev/shm" {
			continue
		}
		options := slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return strings.HasPrefix(o, "size=") })
		mounts[n].Options = append(options, "size="+strconv.FormatUint(size, 10))
	}
}

// tmpfsFlags are the options of a tmpfs without a value, tmpfsValues those with.
var (
	tmpfsFlags = []string{"rw", "ro", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "atime", "noatime", "relatime", "strictatime",
		"diratime", "nodiratime"}
	tmpfsValues = []string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"}
)

// tmpfs reads DST[:OPTION,...].
func tmpfs(text string) (specs.Mount, error) {
	destination, options, _ := strings.Cut(text, ":")
	if !path.IsAbs(destination) || path.Clean(destination) == "/" {
		return specs.Mount{}, invalid("mount tmpfs", text, "its place is not an absolute path below the root")
	}
	m := specs.Mount{Destination: path.Clean(destination), Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "mode=1777"}}
	for _, option := range strings.Split(options, ",") {
		name, value, hasValue := strings.Cut(option, "=")
		switch {
		case option == "":
		case !hasValue && slices.Contains(tmpfsFlags, name):
			m.Options = append(m.Options, option)
		case value != "" && slices.Contains(tmpfsValues, name):
			m.Options = append(slices.DeleteFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, name+"=") }), option)
		default:
			return specs.Mount{}, invalid("mount tmpfs", text, fmt.Sprintf("it has no option %q", option),
				"use "+strings.Join(tmpfsFlags, ", ")+", or "+strings.Join(tmpfsValues, "=, ")+"=")
		}
	}
	return m, nil
}

func invalid(op, subject, cause string, hint ...string) error {
	return &fault.Error{Reason: fault.Invalid, Op: op, Subject: subject, Cause: errors.New(cause), Hint: strings.Join(hint, "")}
}
