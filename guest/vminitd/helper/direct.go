package helper

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"unsafe"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/vfork"
)

// ErrIndirect says that a process is not for Direct.
var ErrIndirect = errors.New("this process needs a helper")

// Container is one that runs already, by descriptors.
type Container struct {
	Root int // its root directory
	Init int // its first process
	// Known is of this container.
	Known *Known
}

// Further is a process that is about to be made.
type Further struct {
	*vfork.Script
	// Terminal is the master of the process's terminal, or nil; of the caller.
	Terminal *os.File
	// Opened are descriptors that only the new process has a use for; of the caller.
	Opened []int
}

// Direct makes of a further process's configuration what it has to do to become that process, so that no helper is needed: whatever has to be found out is found out here, in the calling
// process. It takes the steps of a helper in their order (main.go, privilege.go), but for what cannot fail there. What it does not know how to do, or fails, a helper does, or says in
// its words what is wrong; so errors of this function are for nobody.
func Direct(c Config, of Container, stdio []int) (*Further, error) {
	f := &Further{Script: &vfork.Script{}}
	if err := f.become(c, of, stdio); err != nil {
		if f.Terminal != nil {
			err = errors.Join(err, f.Terminal.Close())
		}
		for _, fd := range f.Opened {
			err = errors.Join(err, unix.Close(fd))
		}
		return nil, err
	}
	return f, nil
}

func (f *Further) become(c Config, of Container, stdio []int) error {
	p := c.Process
	if c.Init != nil || c.Supervised || p.OOMScoreAdj != nil && *p.OOMScoreAdj != 0 {
		return ErrIndirect
	}
	in := root(of.Root)
	user, err := of.Known.lookUp(in, c.User, c.Groups, p.User)
	if err != nil {
		return err
	}
	if err := user.check(c.User, c.IDs); err != nil {
		return err
	}
	owner, _ := c.IDs.Out(user.uid, user.gid)
	if p.Terminal {
		stdio, err = f.openTerminal(in, p.ConsoleSize, owner)
	} else if owner != 0 { // who made them
		err = chownStdio(stdio, owner)
	}
	if err != nil {
		return err
	}
	cwd := of.Root
	if path.Clean(p.Cwd) != "/" {
		if cwd, err = f.workingDirectory(in, c); err != nil {
			return err
		}
		f.Opened = append(f.Opened, cwd)
	}
	env := environment(p, user.home)
	program, err := in.find(p.Args[0], env)
	if err != nil {
		return err
	}
	f.UnblockSignals()
	f.Call("begin a session", unix.SYS_SETSID)
	namespaces := uintptr(Joined)
	if c.IDs != nil { // in which no limit can be raised
		namespaces |= unix.CLONE_NEWUSER
		if err := f.setRlimits(p.Rlimits); err != nil {
			return err
		}
	}
	f.Call("join the container", unix.SYS_SETNS, uintptr(of.Init), namespaces)
	f.Call("enter the working directory", unix.SYS_FCHDIR, uintptr(cwd))
	for i, fd := range stdio {
		f.Call("take a stream", unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
	if p.Terminal {
		f.Call("take the terminal", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
	f.Call("close what is the machine's", unix.SYS_CLOSE_RANGE, 3, uintptr(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
	f.Call("set the umask", unix.SYS_UMASK, uintptr(user.mask()))
	limits, err := of.Known.limit(p, user, c.IDs != nil, c.Filters)
	if err != nil {
		return err
	}
	f.Append(limits)
	return f.Execute(program, p.Args, env)
}

func (f *Further) openTerminal(in root, size *specs.Box, uid int) (stdio []int, err error) {
	master, slave, err := openPair(in, size, uid)
	if err != nil {
		return nil, err
	}
	f.Opened = append(f.Opened, slave)
	if err := unix.SetNonblock(master, true); err != nil {
		return nil, errors.Join(err, unix.Close(master))
	}
	f.Terminal = os.NewFile(uintptr(master), "terminal")
	return []int{slave, slave, slave}, nil
}

// find is that of find.go from outside, which cannot tell what the user may execute: it returns the first that anybody may. If it is not the user's to execute, execve(2) says so.
func (r root) find(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range strings.Split(lookupEnv(env, "PATH"), ":") {
		if !path.IsAbs(dir) {
			return "", ErrIndirect
		}
		candidate := path.Join(dir, name)
		fd, err := r.open(candidate, unix.O_PATH, 0)
		if err != nil {
			continue
		}
		var stat unix.Stat_t
		if err := errors.Join(unix.Fstat(fd, &stat), unix.Close(fd)); err != nil {
			return "", err
		}
		if stat.Mode&unix.S_IFMT != unix.S_IFDIR && stat.Mode&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", ErrIndirect
}

// workingDirectory opens it. Where it is missing it is made, unless it were the machine's then.
func (f *Further) workingDirectory(in root, c Config) (fd int, err error) {
	if c.IDs != nil {
		return in.open(c.Process.Cwd, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	return in.directory(c.Process.Cwd)
}

// limit is that of privilege.go, but for the umask. mapped: the container has a user namespace of its own, and the limits of its resources are set.
func (f *Further) limit(p *specs.Process, a account, mapped bool, filters []Filter) error {
	if !mapped {
		if err := f.setRlimits(p.Rlimits); err != nil {
			return err
		}
	}
	if !p.NoNewPrivileges {
		f.install(filters)
	}
	if err := f.assume(p.Capabilities, a, mapped); err != nil {
		return err
	}
	if p.NoNewPrivileges {
		f.Call("set no-new-privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		f.install(filters)
	}
	return nil
}

func (f *Further) setRlimits(limits []specs.POSIXRlimit) error {
	for _, l := range allRlimits(limits) {
		resource, known := rlimitNumber(l.Type)
		if !known {
			return ErrIndirect
		}
		limit := &unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		f.Call("set a limit", unix.SYS_PRLIMIT64, 0, uintptr(resource), vfork.Pointer(f.Script, limit), 0)
	}
	return nil
}

func (f *Further) install(filters []Filter) {
	const size = int(unsafe.Sizeof(unix.SockFilter{}))
	for _, filter := range filters {
		head := &unix.SockFprog{Len: uint16(len(filter.Program) / size), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(filter.Program)))}
		f.Call("install a system call filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(filter.Flags), vfork.Pointer(f.Script, head))
	}
}

// assume has the process take the user's identity and only the capabilities of the specification. Each call that changes credentials has the kernel make new ones, and later free the old: in an emulated machine those
// that change nothing were a tenth of what it takes to make a process.
func (f *Further) assume(c *specs.LinuxCapabilities, a account, mapped bool) error {
	if c == nil {
		c = &specs.LinuxCapabilities{}
	}
	bounding, effective, inheritable, permitted, ambient, err := masks(c)
	if err != nil {
		return err
	}
	last, err := capability.LastCap()
	if err != nil {
		return err
	}
	f.bound(bounding, uintptr(last))
	groups := make([]uint32, len(a.groups), len(a.groups)+1)
	for i, g := range a.groups {
		groups[i] = uint32(g)
	}
	gid, uid := uintptr(a.gid), uintptr(a.uid)
	changes := mapped || gid != 0 || uid != 0 // it is born as vminitd's user and group, and in no other
	if changes {
		f.Call("keep capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	}
	if changes || len(groups) > 0 {
		f.Call("set groups", unix.SYS_SETGROUPS, uintptr(len(groups)), vfork.Pointer(f.Script, &groups[:1][0]))
	}
	if changes {
		f.Call("become the group", unix.SYS_SETRESGID, gid, gid, gid)
		f.Call("become the user", unix.SYS_SETRESUID, uid, uid, uid)
	}
	f.Call("be looked into by nobody", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // a system setting may have said otherwise just now
	if changes {
		f.Call("keep capabilities no longer", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0, 0, 0, 0)
	}
	head := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted), Inheritable: uint32(inheritable)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	f.Call("set capabilities", unix.SYS_CAPSET, vfork.Pointer(f.Script, head), vfork.Pointer(f.Script, data))
	for number := range uintptr(last) + 1 { // there is none yet
		if ambient&(1<<number) != 0 {
			f.Call("raise a capability", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, number, 0, 0)
		}
	}
	return nil
}

// masks returns the sets of capabilities, a bit for each. Mostly several are the same.
func masks(c *specs.LinuxCapabilities) (bounding, effective, inheritable, permitted, ambient uint64, err error) {
	known := capability.ListKnown()
	var masks []uint64
	all := sets(c)
	for i, names := range all {
		if same := slices.IndexFunc(all[:i], func(other *[]string) bool { return slices.Equal(*other, *names) }); same >= 0 {
			masks = append(masks, masks[same])
			continue
		}
		var mask uint64
		for _, name := range *names {
			name, ok := strings.CutPrefix(name, "CAP_")
			number := slices.IndexFunc(known, func(c capability.Cap) bool {
				return len(c.String()) == len(name) && strings.EqualFold(c.String(), name)
			})
			if !ok || number < 0 {
				return 0, 0, 0, 0, 0, ErrIndirect
			}
			mask |= 1 << known[number]
		}
		masks = append(masks, mask)
	}
	return masks[0], masks[1], masks[2], masks[3], masks[4], nil
}
