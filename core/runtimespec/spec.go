// Package runtimespec makes the OCI runtime spec that the guest enforces, from an image's configuration and what the user asked for. It is pure: the
// same input gives the same spec, whatever the host.
package runtimespec

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/sdk/fault"
)

// DefaultPath is PATH where neither image nor user set it.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Input is what a spec is made of.
type Input struct {
	ContainerID string
	Image       imagespec.ImageConfig
	// Args, Env, WorkingDir are as the user gave them; see Arguments for args.
	Args       []string
	Env        []string
	WorkingDir string
	Hostname   string
	Terminal   bool
	ReadOnly   bool
	CPUs       uint32
	// MemoryBytes limits the container, 0 does not.
	MemoryBytes uint64
	Isolation   Isolation
	// Mounts of the user, in any order, besides those of Isolation.
	Mounts []Mount
}

// Arguments is what a container runs: the entrypoint, then the command. A non-nil entrypoint replaces the image's, and its command with
// it; a command replaces the image's command.
func Arguments(image imagespec.ImageConfig, entrypoint, command []string) ([]string, error) {
	args := image.Entrypoint
	rest := image.Cmd
	if entrypoint != nil {
		args, rest = entrypoint, nil
		if len(entrypoint) == 1 && entrypoint[0] == "" {
			args = nil
		}
	}
	if len(command) > 0 {
		rest = command
	}
	all := slices.Concat(args, rest)
	if len(all) == 0 {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "choose a command", Cause: errors.New("the image names none"),
			Hint: "write one behind the image"}
	}
	return all, nil
}

// Environment merges the image's with the user's; later settings of a name win, in the place of the first.
func Environment(image, user []string) ([]string, error) {
	var names []string
	values := map[string]string{}
	set := func(name, value string) {
		if _, known := values[name]; !known {
			names = append(names, name)
		}
		values[name] = value
	}
	set("PATH", DefaultPath)
	for _, entry := range image {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" {
			set(name, value)
		}
	}
	for _, entry := range user {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" || strings.ContainsRune(entry, 0) {
			return nil, &fault.Error{Reason: fault.Invalid, Op: "set environment variable", Subject: name, Cause: errors.New("it is not NAME=VALUE")}
		}
		set(name, value)
	}
	env := make([]string, len(names))
	for i, name := range names {
		env[i] = name + "=" + values[name]
	}
	return env, nil
}

// Build makes the spec.
func Build(in Input) (*specs.Spec, error) {
	env, err := Environment(in.Image.Env, in.Env)
	if err != nil {
		return nil, err
	}
	process, err := Process(in.Args, env, firstOf(in.WorkingDir, in.Image.WorkingDir, "/"), in.Terminal)
	if err != nil {
		return nil, err
	}
	caps, err := in.Isolation.Capabilities()
	if err != nil {
		return nil, err
	}
	process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	spec := &specs.Spec{
		Version:  specs.Version,
		Process:  process,
		Root:     &specs.Root{Path: "rootfs", Readonly: in.ReadOnly},
		Hostname: in.Hostname,
		Mounts:   usualMounts(),
		Linux: &specs.Linux{
			CgroupsPath: "/vzctl/" + in.ContainerID,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace},
			},
			Resources:     resources(in),
			MaskedPaths:   slices.Clone(maskedPaths),
			ReadonlyPaths: slices.Clone(readonlyPaths),
		},
	}
	if err := in.Isolation.apply(spec); err != nil {
		return nil, err
	}
	return spec, addMounts(spec, in.Mounts)
}

// Process makes the process object, for the init and for exec. It has no limits: the guest gives a further process those of the container.
func Process(args, env []string, workingDir string, terminal bool) (*specs.Process, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "choose a command", Cause: errors.New("it is empty")}
	}
	for _, arg := range args {
		if strings.ContainsRune(arg, 0) {
			return nil, &fault.Error{Reason: fault.Invalid, Op: "choose a command", Cause: errors.New("an argument has a zero byte")}
		}
	}
	if !path.IsAbs(workingDir) || strings.ContainsRune(workingDir, 0) {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "set working directory", Subject: workingDir, Cause: errors.New("it is not an absolute path")}
	}
	if terminal && !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "TERM=") }) {
		env = append(slices.Clone(env), "TERM=xterm")
	}
	return &specs.Process{
		Terminal: terminal,
		Args:     args,
		Env:      env,
		Cwd:      path.Clean(workingDir),
	}, nil
}

// SetConsoleSize gives the terminal of a process its first size, in characters. Zero leaves it unset.
func SetConsoleSize(p *specs.Process, width, height uint32) {
	if p.Terminal && width > 0 && height > 0 {
		p.ConsoleSize = &specs.Box{Width: uint(width), Height: uint(height)}
	}
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func resources(in Input) *specs.LinuxResources {
	r := &specs.LinuxResources{}
	if in.CPUs > 0 {
		r.CPU = cpuTime(uint64(in.CPUs) * 1000)
	}
	if in.MemoryBytes > 0 {
		limit := int64(in.MemoryBytes)
		r.Memory = &specs.LinuxMemory{Limit: &limit}
	}
	return r
}

// cpuTime allows so many thousandths of a CPU.
func cpuTime(thousandths uint64) *specs.LinuxCPU {
	period := uint64(100_000)
	quota := int64(thousandths) * int64(period) / 1000
	return &specs.LinuxCPU{Quota: &quota, Period: &period}
}

// The paths every container engine hides or protects.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// usualMounts are the default ones of the OCI runtime spec, "Default Filesystems", with what engines add.
func usualMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

// Labels merges labels; the user's win.
func Labels(image, user map[string]string) map[string]string {
	merged := maps.Clone(image)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, user)
	return merged
}
