package helper

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/idmap"
	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

var modeAll = fs.FileMode(0o666)

// makeDevices makes device nodes below a root, with owners as the maps of a user namespace have them; nil: as they are.
func (r root) makeDevices(devices []specs.LinuxDevice, ids *idmap.Maps) error {
	if r == own { // other threads of the machine have the mask, too
		old := unix.Umask(0)
		defer unix.Umask(old)
	}
	for _, d := range devices {
		if err := r.makeDevice(d, ids); err != nil {
			return &failure.Error{Reason: failure.Invalid, Op: "make device", Subject: d.Path, Cause: err}
		}
	}
	return nil
}

// makeStandardDevices makes the device nodes and links of every container in a directory; see makeDevices.
func (r root) makeStandardDevices(at string, ids *idmap.Maps) error {
	if err := r.makeDevices(standardDevices(at), ids); err != nil {
		return err
	}
	for _, link := range [][2]string{
		{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
	} {
		dev, err := r.directory(at)
		if err != nil {
			return err
		}
		err = unix.Symlinkat(link[1], dev, link[0])
		if closeErr := unix.Close(dev); err != nil && !errors.Is(err, unix.EEXIST) || closeErr != nil {
			return fmt.Errorf("make /dev/%s: %w", link[0], err)
		}
	}
	return nil
}

// makeDevice makes a node, in place of whatever the image has there.
func (r root) makeDevice(d specs.LinuxDevice, ids *idmap.Maps) error {
	kind, known := map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}[d.Type]
	if !known {
		return fmt.Errorf("type %.20q", d.Type)
	}
	mode := modeAll
	if d.FileMode != nil {
		mode = *d.FileMode
	}
	parent, err := r.directory(path.Dir(d.Path))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(parent) }()
	name := path.Base(d.Path)
	if err := unix.Unlinkat(parent, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	number := 0
	if kind != unix.S_IFIFO {
		number = int(unix.Mkdev(uint32(d.Major), uint32(d.Minor)))
	}
	if err := unix.Mknodat(parent, name, kind|uint32(mode.Perm()), number); err != nil {
		return err
	}
	uid, gid := 0, 0
	if d.UID != nil {
		uid = int(*d.UID)
	}
	if d.GID != nil {
		gid = int(*d.GID)
	}
	uid, gid = ids.Out(uid, gid)
	if err := unix.Fchownat(parent, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil || r == own {
		return err
	}
	return unix.Fchmodat(parent, name, uint32(mode.Perm()), 0) // whatever the mask was
}

// standardDevices are those of every container (OCI runtime spec, "Default Devices"), in a directory.
func standardDevices(at string) []specs.LinuxDevice {
	mode := modeAll
	var devices []specs.LinuxDevice
	for _, d := range []struct {
		name         string
		major, minor int64
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		devices = append(devices, specs.LinuxDevice{Path: path.Join(at, d.name), Type: "c", Major: d.major, Minor: d.minor, FileMode: &mode})
	}
	return devices
}
