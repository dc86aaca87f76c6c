// Package seccomp reads system call profiles as Docker writes them, and makes the one of a container: with conditions on capabilities, architecture and kernel
// decided. Package guest/seccomp makes a program of the result, and the guest has the kernel enforce it.
package seccomp

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/seccomp"
	"github.com/vzctl/vzctl/sdk/fault"
)

// MaxProfile bounds a profile, in bytes.
const MaxProfile = 4 << 20

// defaultProfile is that of github.com/moby/profiles/seccomp v0.3.0, unchanged (Apache License 2.0).
//
//go:embed default.json
var defaultProfile []byte

// Profile is a file of rules.
type Profile struct {
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet"`
	Architectures    []specs.Arch             `json:"architectures"`
	ArchMap          []architecture           `json:"archMap"`
	Flags            []specs.LinuxSeccompFlag `json:"flags"`
	ListenerPath     string                   `json:"listenerPath"`
	ListenerMetadata string                   `json:"listenerMetadata"`
	Syscalls         []rule                   `json:"syscalls"`
}

type architecture struct {
	Architecture     specs.Arch   `json:"architecture"`
	SubArchitectures []specs.Arch `json:"subArchitectures"`
}

type rule struct {
	Names    []string                 `json:"names"`
	Name     string                   `json:"name"` // in place of names, in old profiles
	Action   specs.LinuxSeccompAction `json:"action"`
	ErrnoRet *uint                    `json:"errnoRet"`
	Args     []specs.LinuxSeccompArg  `json:"args"`
	Comment  string                   `json:"comment"`
	Includes filter                   `json:"includes"`
	Excludes filter                   `json:"excludes"`
}

// filter is met if all that it has is: every capability, one of the architectures, the kernel.
type filter struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// Subject is whom a profile is for.
type Subject struct {
	Capabilities []string // "CAP_CHOWN", those that bound it
	Arch         string   // "amd64", "arm64"
	Kernel       string   // version, like "6.1.158"; empty: not known
}

// leastKernel is what vminitd needs: cgroup.kill, and with that mount_setattr(2).
const leastKernel = "5.14"

// Default returns Docker's published profile.
func Default() (*Profile, error) { return read(defaultProfile) }

// Parse reads a profile. What nobody would enforce is an error: fields that are not known, actions, operators and flags that the guest cannot do, and denials of system
// calls that no kernel of a guest has by that name.
func Parse(text []byte) (*Profile, error) {
	if len(text) > MaxProfile {
		return nil, invalid(fmt.Errorf("it has more than %d bytes", MaxProfile))
	}
	p, err := read(text)
	if err != nil {
		return nil, err
	}
	// Whatever is wrong with it is wrong on every architecture, also in rules that a subject does not have.
	all := p.spec(specs.ArchX86_64)
	for _, r := range p.Syscalls {
		all.Syscalls = append(all.Syscalls, r.spec())
	}
	if _, err := seccomp.Compile(all, "amd64"); err != nil {
		return nil, invalid(err)
	}
	return p, nil
}

func read(text []byte) (*Profile, error) {
	var p Profile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return nil, invalid(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid(errors.New("something follows it"))
	}
	if len(p.Architectures) > 0 && len(p.ArchMap) > 0 {
		return nil, invalid(errors.New("it has both architectures and archMap"))
	}
	for i := range p.Syscalls {
		if err := p.Syscalls[i].check(p.DefaultAction); err != nil {
			return nil, invalid(err)
		}
	}
	return &p, nil
}

func (r *rule) check(otherwise specs.LinuxSeccompAction) error {
	switch {
	case r.Name != "" && len(r.Names) > 0:
		return fmt.Errorf("a rule has both name %q and names", r.Name)
	case r.Name != "":
		r.Names, r.Name = []string{r.Name}, ""
	case len(r.Names) == 0:
		return errors.New("a rule has no names")
	}
	for _, f := range []filter{r.Includes, r.Excludes} {
		if _, _, err := version(f.MinKernel); f.MinKernel != "" && err != nil {
			return err
		}
	}
	if r.Action == specs.ActAllow || otherwise != specs.ActAllow && otherwise != specs.ActLog {
		return nil // a call that does not exist is denied
	}
	for _, name := range r.Names {
		if !known(name) {
			return fmt.Errorf("it denies %q, which is no system call of a guest's kernel", name)
		}
	}
	return nil
}

// known says whether a call is one of 64 bit Linux, or one of Docker's profile, which has those of all architectures.
func known(name string) bool {
	for _, arch := range []string{"amd64", "arm64"} {
		if _, ok := seccomp.Number(arch, name); ok {
			return true
		}
	}
	return bytes.Contains(defaultProfile, []byte(strconv.Quote(name)))
}

// For decides the conditions for a container, and returns what a runtime spec says then.
func (p *Profile) For(s Subject) (*specs.LinuxSeccomp, error) {
	native, ok := map[string]specs.Arch{"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64}[s.Arch]
	if !ok {
		return nil, &fault.Error{Reason: fault.Unsupported, Op: "apply the system call profile", Cause: fmt.Errorf("not on %s", s.Arch)}
	}
	out := p.spec(native)
	for _, r := range p.Syscalls {
		included, err := r.Includes.met(s)
		if err != nil {
			return nil, invalid(err)
		}
		excluded, err := r.Excludes.excludes(s)
		if err != nil {
			return nil, invalid(err)
		}
		if included && !excluded {
			out.Syscalls = append(out.Syscalls, r.spec())
		}
	}
	return out, nil
}

func (p *Profile) spec(native specs.Arch) *specs.LinuxSeccomp {
	out := &specs.LinuxSeccomp{DefaultAction: p.DefaultAction, DefaultErrnoRet: p.DefaultErrnoRet, Architectures: p.Architectures, Flags: p.Flags,
		ListenerPath: p.ListenerPath, ListenerMetadata: p.ListenerMetadata}
	for _, a := range p.ArchMap {
		if a.Architecture == native {
			out.Architectures = append([]specs.Arch{native}, a.SubArchitectures...)
		}
	}
	return out
}

func (r rule) spec() specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: r.Names, Action: r.Action, ErrnoRet: r.ErrnoRet, Args: r.Args}
}

// met is how includes are read: all of it must hold.
func (f filter) met(s Subject) (bool, error) {
	for _, c := range f.Caps {
		if !slices.Contains(s.Capabilities, c) {
			return false, nil
		}
	}
	if len(f.Arches) > 0 && !slices.Contains(f.Arches, s.Arch) {
		return false, nil
	}
	return atLeast(s.Kernel, f.MinKernel, true)
}

// excludes is how excludes are read: any of it is enough.
func (f filter) excludes(s Subject) (bool, error) {
	for _, c := range f.Caps {
		if slices.Contains(s.Capabilities, c) {
			return true, nil
		}
	}
	if slices.Contains(f.Arches, s.Arch) {
		return true, nil
	}
	return atLeast(s.Kernel, f.MinKernel, false)
}

func atLeast(kernel, least string, otherwise bool) (bool, error) {
	if least == "" {
		return otherwise, nil
	}
	if kernel == "" {
		kernel = leastKernel
	}
	major, minor, err := version(kernel)
	if err != nil {
		return false, err
	}
	leastMajor, leastMinor, err := version(least)
	return major > leastMajor || major == leastMajor && minor >= leastMinor, err
}

// version reads "6.1.158-x" as 6 and 1.
func version(text string) (major, minor int, err error) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) >= 2 {
		major, err = strconv.Atoi(parts[0])
		if err == nil {
			digits := strings.TrimRight(parts[1], "-+abcdefghijklmnopqrstuvwxyz")
			minor, err = strconv.Atoi(digits)
		}
	}
	if len(parts) < 2 || err != nil {
		return 0, 0, fmt.Errorf("%q is no version of a kernel", text)
	}
	return major, minor, nil
}

func invalid(cause error) error {
	return &fault.Error{Reason: fault.Invalid, Op: "read the system call profile", Cause: cause}
}
