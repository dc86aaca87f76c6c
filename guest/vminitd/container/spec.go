package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/sdk/fault"
)

// parseSpec reads a runtime spec and refuses what is not enforced. A field that is not known cannot be enforced either.
func parseSpec(text []byte) (*specs.Spec, error) {
	var spec specs.Spec
	if err := decode(text, &spec); err != nil {
		return nil, invalid("read the runtime spec", err)
	}
	if !strings.HasPrefix(spec.Version, "1.") {
		return nil, invalid("read the runtime spec", fmt.Errorf("version %.20q", spec.Version))
	}
	if spec.Linux == nil || spec.Process == nil {
		return nil, invalid("read the runtime spec", errors.New("it has no linux or no process"))
	}
	if err := checkProcess(spec.Process); err != nil {
		return nil, err
	}
	for _, m := range spec.Mounts {
		if !path.IsAbs(m.Destination) || strings.ContainsRune(m.Destination, 0) {
			return nil, invalid("mount "+m.Destination, errors.New("it is not an absolute path"))
		}
	}
	if _, err := idMaps(&spec); err != nil {
		return nil, err
	}
	l := spec.Linux
	return &spec, failure.First(
		noHooks(spec.Hooks),
		failure.Unenforced(spec.Solaris != nil || spec.Windows != nil || spec.VM != nil || spec.ZOS != nil || spec.FreeBSD != nil, "another platform's settings"),
		failure.Unenforced(l.MountLabel != "", "linux.mountLabel"),
		failure.Unenforced(l.IntelRdt != nil, "linux.intelRdt"),
		failure.Unenforced(l.Personality != nil, "linux.personality"),
		failure.Unenforced(len(l.TimeOffsets) > 0, "linux.timeOffsets"),
		failure.Unenforced(l.MemoryPolicy != nil, "linux.memoryPolicy"),
		failure.Unenforced(len(l.NetDevices) > 0, "linux.netDevices"))
}

func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// noHooks refuses hooks, by name.
func noHooks(h *specs.Hooks) error {
	if h == nil {
		return nil
	}
	//lint:ignore SA1019 deprecated hooks are hooks: a spec that has them is refused
	prestart := h.Prestart
	return failure.First(
		failure.Unenforced(len(prestart) > 0, "hooks.prestart"),
		failure.Unenforced(len(h.CreateRuntime) > 0, "hooks.createRuntime"),
		failure.Unenforced(len(h.CreateContainer) > 0, "hooks.createContainer"),
		failure.Unenforced(len(h.StartContainer) > 0, "hooks.startContainer"),
		failure.Unenforced(len(h.Poststart) > 0, "hooks.poststart"),
		failure.Unenforced(len(h.Poststop) > 0, "hooks.poststop"))
}

// ParseProcess reads the process object of an exec.
func ParseProcess(text []byte) (*specs.Process, error) {
	var p specs.Process
	if err := decode(text, &p); err != nil {
		return nil, invalid("read the process", err)
	}
	return &p, nil
}

func checkProcess(p *specs.Process) error {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return invalid("read the process", errors.New("it has no arguments"))
	}
	for _, s := range append(append([]string{p.Cwd}, p.Args...), p.Env...) {
		if strings.ContainsRune(s, 0) {
			return invalid("read the process", errors.New("a string of it has a zero byte"))
		}
	}
	if !path.IsAbs(p.Cwd) {
		return invalid("read the process", fmt.Errorf("working directory %.100q is not absolute", p.Cwd))
	}
	return failure.First(
		failure.Unenforced(p.CommandLine != "", "process.commandLine"),
		failure.Unenforced(p.User.Username != "", "process.user.username"),
		failure.Unenforced(p.ApparmorProfile != "", "process.apparmorProfile"),
		failure.Unenforced(p.SelinuxLabel != "", "process.selinuxLabel"),
		failure.Unenforced(p.Scheduler != nil, "process.scheduler"),
		failure.Unenforced(p.IOPriority != nil, "process.ioPriority"),
		failure.Unenforced(p.ExecCPUAffinity != nil, "process.execCPUAffinity"))
}

// namespaces returns the CLONE_NEW* flags of a spec.
func namespaces(list []specs.LinuxNamespace) (flags int, err error) {
	known := map[specs.LinuxNamespaceType]int{
		specs.PIDNamespace: unix.CLONE_NEWPID, specs.MountNamespace: unix.CLONE_NEWNS, specs.IPCNamespace: unix.CLONE_NEWIPC,
		specs.UTSNamespace: unix.CLONE_NEWUTS, specs.NetworkNamespace: unix.CLONE_NEWNET, specs.CgroupNamespace: unix.CLONE_NEWCGROUP,
		specs.UserNamespace: unix.CLONE_NEWUSER,
	}
	for _, n := range list {
		if err := failure.Unenforced(n.Path != "", "path of the "+string(n.Type)+" namespace"); err != nil {
			return 0, err
		}
		flag, ok := known[n.Type]
		if err := failure.Unenforced(!ok, "namespace "+string(n.Type)); err != nil {
			return 0, err
		}
		flags |= flag
	}
	const needed = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	if flags&needed != needed {
		return 0, invalid("read the runtime spec", errors.New("a container needs pid and mount namespaces of its own"))
	}
	return flags, nil
}

// initConfig is what the launch helper of a first process needs of a spec.
func initConfig(spec *specs.Spec, flags int) *helper.Init {
	return &helper.Init{
		Domainname:    spec.Domainname,
		Namespaces:    flags &^ (unix.CLONE_NEWPID | unix.CLONE_NEWUSER),
		Mounts:        spec.Mounts,
		Devices:       spec.Linux.Devices,
		Sysctl:        spec.Linux.Sysctl,
		MaskedPaths:   spec.Linux.MaskedPaths,
		ReadonlyPaths: spec.Linux.ReadonlyPaths,
		Propagation:   spec.Linux.RootfsPropagation,
		ReadOnly:      spec.Root != nil && spec.Root.Readonly,
	}
}

const maxID = 64

// checkID makes sure that an id can be a file name.
func checkID(kind, id string) error {
	bad := id == "" || len(id) > maxID || id[0] == '.' || id[0] == '-'
	for _, c := range id {
		bad = bad || !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if bad {
		return invalid("use "+kind+" id", fmt.Errorf("%.80q is not 1 to %d letters, digits, dots, dashes and underscores", id, maxID))
	}
	return nil
}

func invalid(op string, cause error) error {
	return &fault.Error{Reason: fault.Invalid, Op: op, Cause: cause}
}
