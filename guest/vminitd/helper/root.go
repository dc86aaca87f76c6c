package helper

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

// part makes namespaces, and what is to be in them from the beginning.
func (i *Init) part(namespaces int) error {
	if err := unix.Unshare(namespaces); err != nil { // the root of a cgroup namespace is the cgroup that one is in now
		return fmt.Errorf("make namespaces: %w", err)
	}
	if err := names(i); err != nil {
		return err
	}
	if i.Namespaces&unix.CLONE_NEWNET != 0 {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bring up lo: %w", err)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("part from the machine's mounts: %w", err)
	}
	return nil
}

// buildRoot gives a first process its root and what is mounted in it. The process is alone in a new pid namespace, and makes the others here unless it has when it staged. Masks, and what
// makes the root read-only, follow in sealRoot.
func buildRoot(i *Init, staged []prepared, cwd string) error {
	namespaces := i.Namespaces
	if staged != nil {
		namespaces &^= StagedNamespaces
	}
	if err := i.part(namespaces); err != nil {
		return err
	}
	mounts, err := prepareAll(i)
	if err != nil {
		return err
	}
	if i.Staged {
		mounts = append(staged, mounts...)
	}
	if err := SetSysctls(i.Sysctl); err != nil {
		return err
	}
	if err := pivot(i.Rootfs); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	for _, m := range mounts {
		if err := m.place(); err != nil {
			return err
		}
	}
	if !i.Staged {
		if err := own.makeStandardDevices("/dev", nil); err != nil {
			return err
		}
	}
	if err := own.makeDevices(i.Devices, nil); err != nil {
		return err
	}
	return makeWorkingDirectory(cwd)
}

// makeWorkingDirectory makes it if it is missing, while the root can still be written.
func makeWorkingDirectory(cwd string) error {
	fd, err := directory(cwd)
	if err != nil {
		return &failure.Error{Reason: failure.Invalid, Op: "make working directory", Subject: cwd, Cause: err}
	}
	return unix.Close(fd)
}

func names(i *Init) error {
	if i.Hostname != "" {
		if err := unix.Sethostname([]byte(i.Hostname)); err != nil {
			return &failure.Error{Reason: failure.Invalid, Op: "set host name", Subject: i.Hostname, Cause: err}
		}
	}
	if i.Domainname != "" {
		if err := unix.Setdomainname([]byte(i.Domainname)); err != nil {
			return &failure.Error{Reason: failure.Invalid, Op: "set domain name", Subject: i.Domainname, Cause: err}
		}
	}
	return nil
}

func prepareAll(i *Init) (mounts []prepared, err error) {
	for _, m := range i.Mounts {
		p, err := prepare(m)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, p)
	}
	for _, f := range i.Files {
		fd, _, err := cloneTree(f.Source, options{})
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, prepared{fd: fd, destination: f.Destination})
	}
	return mounts, nil
}

// SetSysctls writes through a procfs of the thread's own namespaces, mounted nowhere.
func SetSysctls(sysctl map[string]string) error {
	if len(sysctl) == 0 {
		return nil
	}
	proc, err := newMount("proc", "proc", 0, nil)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(proc) }()
	for name, value := range sysctl {
		// As sysctl(8): dots part, slashes stand for dots within a name.
		path := strings.NewReplacer(".", "/", "/", ".").Replace(name)
		how := &unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
		fd, err := unix.Openat2(proc, "sys/"+path, how)
		if err == nil {
			_, err = unix.Write(fd, []byte(value))
			err = errors.Join(err, unix.Close(fd))
		}
		if err != nil {
			return &failure.Error{Reason: failure.Invalid, Op: "set sysctl", Subject: name, Cause: err}
		}
	}
	return nil
}

// pivot makes a mount the root and lets go of the old one.
func pivot(root string) error {
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(old) }()
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil { // the old root now lies over the new
		return err
	}
	if err := unix.Fchdir(old); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// sealRoot hides and protects what the spec says, and at last the root itself.
func sealRoot(i *Init) error {
	for _, path := range i.ReadonlyPaths {
		if err := protect(path); err != nil {
			return &failure.Error{Reason: failure.Internal, Op: "protect", Subject: path, Cause: err}
		}
	}
	for _, path := range i.MaskedPaths {
		if err := mask(path); err != nil {
			return &failure.Error{Reason: failure.Internal, Op: "mask", Subject: path, Cause: err}
		}
	}
	root := unix.MountAttr{}
	flags := uint(0)
	if i.Propagation != "" {
		kind, recursive, known := propagation(i.Propagation)
		if !known {
			return &failure.Error{Reason: failure.Invalid, Op: "set propagation", Subject: i.Propagation, Cause: errors.New("there is none of that name")}
		}
		root.Propagation = kind
		if recursive {
			flags = unix.AT_RECURSIVE
		}
		if err := unix.MountSetattr(unix.AT_FDCWD, "/", flags, &root); err != nil {
			return fmt.Errorf("set propagation of the root: %w", err)
		}
	}
	if !i.ReadOnly {
		return nil
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	return nil
}

// protect makes a path, if there is one, read-only with all below.
func protect(path string) error {
	tree, err := openIn(path, unix.O_PATH, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(tree) }()
	clone, err := unix.OpenTree(tree, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(clone) }()
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(clone, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
		return err
	}
	return moveTo(clone, tree)
}

// mask puts an empty directory, or /dev/null, over a path, if there is one.
func mask(path string) error {
	at, err := openIn(path, unix.O_PATH, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(at) }()
	var stat unix.Stat_t
	if err := unix.Fstat(at, &stat); err != nil {
		return err
	}
	var cover int
	if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		cover, err = newMount("tmpfs", "tmpfs", unix.MOUNT_ATTR_RDONLY, []string{"mode=0755", "nr_inodes=1"})
	} else {
		cover, err = cloneNull()
	}
	if err != nil {
		return err
	}
	return errors.Join(moveTo(cover, at), unix.Close(cover))
}

// cloneNull makes a bind mount of the container's /dev/null, having made sure that it is.
func cloneNull() (int, error) {
	null, err := openIn("/dev/null", unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(null) }()
	var stat unix.Stat_t
	if err := unix.Fstat(null, &stat); err != nil {
		return -1, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFCHR || stat.Rdev != unix.Mkdev(1, 3) {
		return -1, errors.New("/dev/null is something else")
	}
	return unix.OpenTree(null, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
}

// loopbackUp is here so that the helper does without a netlink library.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request)
}
