package helper

import (
	"errors"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

// Mounts are made with the new mount API: made first, with sources in vminitd's eyes, and put in place later, inside the container's root, by
// descriptors that no link can turn elsewhere.

// options of a mount, sorted out.
type options struct {
	set, clear  uint64   // MOUNT_ATTR_*
	recursive   bool     // of a bind mount
	bind        bool     //
	propagation uint64   // MS_SHARED, ...; 0: private
	data        []string // the file system's own
}

// attribute is an option that every mount has.
type attribute struct {
	name       string
	set, clear uint64
}

func attributes() []attribute {
	return []attribute{
		{"ro", unix.MOUNT_ATTR_RDONLY, 0}, {"rw", 0, unix.MOUNT_ATTR_RDONLY},
		{"nosuid", unix.MOUNT_ATTR_NOSUID, 0}, {"suid", 0, unix.MOUNT_ATTR_NOSUID},
		{"nodev", unix.MOUNT_ATTR_NODEV, 0}, {"dev", 0, unix.MOUNT_ATTR_NODEV},
		{"noexec", unix.MOUNT_ATTR_NOEXEC, 0}, {"exec", 0, unix.MOUNT_ATTR_NOEXEC},
		{"nosymfollow", unix.MOUNT_ATTR_NOSYMFOLLOW, 0}, {"symfollow", 0, unix.MOUNT_ATTR_NOSYMFOLLOW},
		{"nodiratime", unix.MOUNT_ATTR_NODIRATIME, 0}, {"diratime", 0, unix.MOUNT_ATTR_NODIRATIME},
		{"relatime", unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME}, {"atime", 0, unix.MOUNT_ATTR__ATIME},
		{"noatime", unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME},
		{"strictatime", unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
		{"defaults", 0, 0},
	}
}

// propagation returns MS_* of a mount's propagation and whether it goes for all below.
func propagation(name string) (kind uint64, recursive, known bool) {
	name, recursive = strings.CutPrefix(name, "r")
	switch name {
	case "shared":
		return unix.MS_SHARED, recursive, true
	case "slave":
		return unix.MS_SLAVE, recursive, true
	case "private":
		return unix.MS_PRIVATE, recursive, true
	case "unbindable":
		return unix.MS_UNBINDABLE, recursive, true
	}
	return 0, false, false
}

func parseOptions(words []string) (o options) {
words:
	for _, word := range words {
		if word == "bind" || word == "rbind" {
			o.bind, o.recursive = true, word == "rbind"
			continue
		}
		if kind, _, known := propagation(word); known {
			o.propagation = kind
			continue
		}
		for _, a := range attributes() {
			if a.name == word {
				o.set = o.set&^(a.clear|a.set) | a.set
				o.clear = o.clear&^a.set | a.clear
				continue words
			}
		}
		o.data = append(o.data, word)
	}
	return o
}

// prepared is a mount not yet in place.
type prepared struct {
	fd          int
	destination string
	directory   bool
	strict      bool // the destination may not be reached over links: what is masked later is below it
	propagation uint64
}

// prepare makes a mount of the spec. Runs while the machine's root is still the process's.
func prepare(m specs.Mount) (p prepared, err error) {
	defer func() {
		if err != nil && failure.ReasonOf(err) == failure.Internal {
			err = &failure.Error{Reason: failure.Invalid, Op: "mount", Subject: m.Destination, Cause: err}
		}
	}()
	if err := failure.Unenforced(len(m.UIDMappings)+len(m.GIDMappings) > 0, "mounts.uidMappings"); err != nil {
		return p, err
	}
	o := parseOptions(m.Options)
	p = prepared{destination: m.Destination, directory: true, strict: m.Type == "proc" || m.Type == "sysfs", propagation: o.propagation}
	if o.bind || m.Type == "bind" {
		if err := failure.Unenforced(len(o.data) > 0, "option "+strings.Join(o.data, ",")+" of a bind mount"); err != nil {
			return p, err
		}
		p.fd, p.directory, err = cloneTree(m.Source, o)
		return p, err
	}
	kind := m.Type
	if kind == "cgroup" {
		kind = "cgroup2"
	}
	p.fd, err = newMount(kind, m.Source, o.set, o.data)
	return p, err
}

// newMount mounts a file system nowhere yet. Attributes are the mount's own: some file systems (sysfs, cgroup2) are one for the whole machine.
func newMount(kind, source string, attributes uint64, data []string) (fd int, err error) {
	context, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("file system %q: %w", kind, err)
	}
	defer func() { _ = unix.Close(context) }()
	if source == "" {
		source = kind
	}
	if err := unix.FsconfigSetString(context, "source", source); err != nil {
		return -1, err
	}
	for _, word := range data {
		if key, value, ok := strings.Cut(word, "="); ok {
			err = unix.FsconfigSetString(context, key, value)
		} else {
			err = unix.FsconfigSetFlag(context, word)
		}
		if err != nil {
			return -1, fmt.Errorf("option %q: %w", word, err)
		}
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, err
	}
	return unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, int(attributes))
}

// cloneTree makes a bind mount of a path of the machine.
func cloneTree(source string, o options) (fd int, directory bool, err error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if o.recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err = unix.OpenTree(unix.AT_FDCWD, source, flags)
	if err != nil {
		return -1, false, fmt.Errorf("bind %s: %w", source, err)
	}
	attr := unix.MountAttr{Attr_set: o.set, Attr_clr: o.clear}
	if o.set|o.clear != 0 {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return -1, false, errors.Join(fmt.Errorf("set options of bind mount: %w", err), unix.Close(fd))
		}
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return -1, false, errors.Join(err, unix.Close(fd))
	}
	return fd, stat.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// place puts a mount where it belongs, in the container's root, making the place if it is missing.
func (p prepared) place() error {
	open := file
	if p.directory {
		open = directory
	}
	at, err := open(p.destination)
	if err != nil {
		return p.failed(fmt.Errorf("find its place: %w", err))
	}
	if p.strict {
		how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
		fd, err := unix.Openat2(unix.AT_FDCWD, p.destination, how)
		if err != nil {
			return p.failed(errors.Join(fmt.Errorf("a link of the image leads there: %w", err), unix.Close(at)))
		}
		_ = unix.Close(fd)
	}
	if err := errors.Join(moveTo(p.fd, at), unix.Close(at)); err != nil {
		return p.failed(err)
	}
	if p.propagation != 0 && p.propagation != unix.MS_PRIVATE {
		if err := unix.MountSetattr(p.fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: p.propagation}); err != nil {
			return p.failed(err)
		}
	}
	return unix.Close(p.fd)
}

func (p prepared) failed(err error) error {
	return &failure.Error{Reason: failure.Invalid, Op: "mount", Subject: p.destination, Cause: err}
}

// moveTo attaches a mount at an open place.
func moveTo(mount, at int) error {
	return unix.MoveMount(mount, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}
