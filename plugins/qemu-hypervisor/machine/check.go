package machine

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

const (
	maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1 // the last byte is a zero
	minMTU        = 68                                      // of IPv4
	maxMTU        = 65535
	maxMemory     = 1 << 44
)

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// only reports whether a text has 1 to most characters, and no others than these.
func only(text, characters string, most int) bool {
	return text != "" && len(text) <= most && strings.Trim(text, characters) == ""
}

func validID(id string) bool         { return only(id, letters+"_.-", 64) }
func validSerial(serial string) bool { return only(serial, letters+"_-", 20) }

var validCPU = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.,+=-]*$`) })

// Check says whether the spec can be run, by looking at nothing but the spec. What is not offered is fault.Unsupported, what can never be
// right fault.Invalid.
func Check(spec hypervisor.Spec) error {
	for _, check := range []func(hypervisor.Spec) error{
		checkShape, checkKernel, checkOptions, checkFeatures, checkDisks, checkShares, checkNICs, checkPaths,
	} {
		if err := check(spec); err != nil {
			return err
		}
	}
	return nil
}

func invalid(hint, format string, args ...any) error {
	return &fault.Error{Reason: fault.Invalid, Op: "check the VM", Cause: fmt.Errorf(format, args...), Hint: hint}
}

func unsupported(hint, format string, args ...any) error {
	return &fault.Error{Reason: fault.Unsupported, Op: "check the VM", Cause: fmt.Errorf(format, args...), Hint: hint}
}

func checkShape(s hypervisor.Spec) error {
	switch {
	case !validID(s.ID):
		return invalid("use 1 to 64 of a-z A-Z 0-9 _ . -", "bad id %q", s.ID)
	case profiles[s.Arch].name == "":
		return unsupported("", "qemu-hypervisor runs no guests of architecture %q", s.Arch)
	case s.CPUs < 1:
		return invalid("", "no CPUs")
	case s.CPUs > MaxCPUs:
		return unsupported(fmt.Sprintf("ask for at most %d", MaxCPUs), "%d CPUs", s.CPUs)
	case s.MemoryBytes < MinMemory:
		return invalid(fmt.Sprintf("ask for at least %d MiB", MinMemory>>20), "%d MiB of memory are too few", s.MemoryBytes>>20)
	case s.MemoryBytes > maxMemory:
		return unsupported(fmt.Sprintf("ask for at most %d GiB", maxMemory>>30), "%d GiB of memory", s.MemoryBytes>>30)
	case devices(s) > MaxDevices:
		return unsupported(fmt.Sprintf("use at most %d", MaxDevices), "%d disks, network cards and shares", devices(s))
	}
	return nil
}

func checkKernel(s hypervisor.Spec) error {
	formats := profiles[s.Arch].kernels
	switch {
	case s.Kernel.Path == "":
		return invalid("", "no kernel")
	case !slices.Contains(formats, s.Kernel.Format):
		return unsupported("", "a kernel of format %q; for %s it has to be %s", s.Kernel.Format, s.Arch, strings.Join(formats, " or "))
	case strings.ContainsAny(s.Kernel.CommandLine, "\x00\n"):
		return invalid("", "the kernel's command line has a line end")
	}
	return nil
}

func checkOptions(s hypervisor.Spec) error {
	for name, value := range s.Options {
		switch name {
		case OptionAccelerator:
			if !slices.Contains([]string{"", "auto", KVM, HVF, TCG}, value) {
				return unsupported("use auto, kvm, hvf or tcg", "accelerator %q", value)
			}
		case OptionProfile:
			if offered := profiles[s.Arch].name; value != "" && value != offered {
				return unsupported(fmt.Sprintf("for %s there is %q", s.Arch, offered), "profile %q", value)
			}
		case OptionTemplates:
			if !slices.Contains([]string{"", "on", "off"}, value) {
				return invalid("use on or off", "option templates is %q", value)
			}
		case OptionRandomize:
			if !slices.Contains([]string{"", randomizeBoot, randomizeProcess}, value) {
				return invalid("use boot or process", "option %s is %q", name, value)
			}
		case OptionStandby:
			if _, err := StandbyTime(s.Options); err != nil {
				return invalid("write off, or a time like 10m", "option %s: %w", name, err)
			}
		case OptionTemplatesMaxSize, OptionTemplatesMaxUnused:
			if _, _, err := TemplateLimits(map[string]string{name: value}); err != nil {
				return invalid("write a number of MiB, or a time like 720h", "option %s: %w", name, err)
			}
		case OptionCPU:
			if value != "" && !validCPU().MatchString(value) {
				return invalid("", "bad CPU model %q", value)
			}
		default:
			return unsupported("", "option %q", name)
		}
	}
	return nil
}

func checkFeatures(s hypervisor.Spec) error {
	switch {
	case s.NestedVirtualization:
		return unsupported("", "nested virtualization")
	case s.Rosetta:
		return unsupported("use vz-hypervisor on a Mac", "Rosetta")
	}
	return nil
}

func checkDisks(s hypervisor.Spec) error {
	seen := map[string]bool{}
	for _, disk := range s.Disks {
		switch {
		case !validSerial(disk.Serial):
			return invalid("use 1 to 20 of a-z A-Z 0-9 _ -", "bad disk serial %q", disk.Serial)
		case seen[disk.Serial]:
			return invalid("", "two disks of serial %q", disk.Serial)
		case disk.File == nil || disk.Block != nil || disk.NBD != nil || disk.VhostUser != nil:
			return unsupported("use a raw image file", "disk %q is not a file", disk.Serial)
		case disk.File.Format != "raw":
			return unsupported("use a raw image", "disk %q has format %q", disk.Serial, disk.File.Format)
		}
		seen[disk.Serial] = true
	}
	return nil
}

func checkNICs(s hypervisor.Spec) error {
	for i, nic := range s.NICs {
		if nic.Link.UnixDatagram == nil {
			return unsupported("use a network that offers unix-datagram", "network card %d on a link of type %q", i, nic.Link.Type())
		}
		if nic.MTU != 0 && (nic.MTU < minMTU || nic.MTU > maxMTU) {
			return invalid("", "network card %d has an MTU of %d", i, nic.MTU)
		}
		if nic.MAC == "" {
			continue
		}
		if mac, err := net.ParseMAC(nic.MAC); err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return invalid("", "network card %d has MAC address %q", i, nic.MAC)
		}
	}
	return nil
}

// checkPaths wants absolute paths, as the caller's working directory is not ours, and sockets short enough to be bound.
func checkPaths(s hypervisor.Spec) error {
	paths := map[string]string{"kernel": s.Kernel.Path, "runtime directory": s.RuntimeDir}
	if s.InitrdPath != "" {
		paths["initrd"] = s.InitrdPath
	}
	if s.ConsolePath != "" {
		paths["console"] = s.ConsolePath
	}
	if s.CacheDir != "" {
		paths["cache directory"] = s.CacheDir
	}
	for _, disk := range s.Disks {
		paths["disk "+disk.Serial] = disk.File.Path
	}
	for _, share := range s.Shares {
		paths["share "+share.Tag] = share.Path
	}
	if len(s.Shares) > 0 {
		paths["state directory"] = s.StateDir
	}
	sockets := map[string]string{"runtime directory": VsockPath(s) + "_4294967295"}
	for i, nic := range s.NICs {
		for end, path := range map[string]string{"VM's": nic.Link.UnixDatagram.VMPath, "network's": nic.Link.UnixDatagram.NetworkPath} {
			name := fmt.Sprintf("%s end of network card %d", end, i)
			paths[name], sockets[name] = path, path
		}
	}
	for name, path := range paths {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			return invalid("give an absolute path", "path of the %s is %q", name, path)
		}
	}
	for name, path := range sockets {
		if len(path) > maxSocketPath {
			return invalid("use a shorter runtime directory",
				"a socket's path of %d bytes is too long for the system, which allows %d (%s, %q)", len(path), maxSocketPath, name, path)
		}
	}
	return nil
}

// VsockPath is where the VM's hybrid vsock socket is.
func VsockPath(s hypervisor.Spec) string { return filepath.Join(s.RuntimeDir, "vsock") }

// MuxPath is where QEMU listens for the host end of its serial port.
func MuxPath(s hypervisor.Spec) string { return filepath.Join(s.RuntimeDir, "mux") }
