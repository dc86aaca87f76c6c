package rehearsal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/container"
	"github.com/vzctl/vzctl/guest/vminitd/identity"
	"github.com/vzctl/vzctl/guest/vminitd/netconf"
)

// machine is what the machine was like before the rehearsal, and is to be like after it.
type machine struct {
	runtime *container.Runtime
	reopen  func(context.Context) error
	cards   netconf.Before
	name    string
	mounts  []byte
	disks   disks
	shares  []string // the tags of the host's directories that come by 9p
}

// disks are the serials of placeholder disks by the part that they play, and the devices of those that play one.
type disks struct {
	lower   []string
	upper   string
	volumes []string
	used    []string
}

// note takes down what the machine is like.
func note(runtime *container.Runtime) (*machine, error) {
	m := &machine{runtime: runtime}
	var err error
	if m.cards, err = netconf.Note(); err != nil {
		return nil, err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, os.NewSyscallError("uname", err)
	}
	m.name = unix.ByteSliceToString(name.Nodename[:])
	if m.mounts, err = os.ReadFile("/proc/self/mounts"); err != nil {
		return nil, err
	}
	if m.disks, err = findDisks("/sys/block"); err != nil {
		return nil, err
	}
	if m.shares, err = findShares("/sys/bus/virtio/drivers/9pnet_virtio"); err != nil {
		return nil, err
	}
	for _, device := range m.disks.used {
		if err := isPlaceholder(device); err != nil {
			return nil, fmt.Errorf("look at %s: %w", device, err)
		}
	}
	return m, nil
}

// label is the name of the placeholders' file systems, see package placeholder of plugins/qemu-hypervisor. In ext4 it is this far behind the disk's beginning, in bytes.
const (
	label   = "rehearsal"
	labelAt = 1024 + 120
)

// isPlaceholder makes sure that nobody's disk is written to.
func isPlaceholder(device string) error {
	file, err := os.Open(device)
	if err != nil {
		return err
	}
	name := make([]byte, 16)
	_, err = file.ReadAt(name, labelAt)
	if err == nil && strings.TrimRight(string(name), "\x00") != label {
		err = errors.New("it is no disk to rehearse with")
	}
	return errors.Join(err, file.Close())
}

// findShares returns the tags of the shares.
func findShares(sys string) (tags []string, err error) {
	paths, err := filepath.Glob(filepath.Join(sys, "virtio*", "mount_tag"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		tag, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		tags = append(tags, strings.TrimRight(string(tag), "\n\x00"))
	}
	return tags, nil
}

// findDisks takes the read-only disks for a root's, of those that can be written the first for its writable layer, and the others for volumes.
func findDisks(sys string) (d disks, err error) {
	paths, err := filepath.Glob(filepath.Join(sys, "vd*"))
	if err != nil {
		return disks{}, err
	}
	for _, path := range paths {
		readOnly, err := os.ReadFile(filepath.Join(path, "ro"))
		if err != nil {
			return disks{}, err
		}
		serial, err := os.ReadFile(filepath.Join(path, "serial"))
		if err != nil {
			return disks{}, err
		}
		device := filepath.Join("/dev", filepath.Base(path))
		name := strings.TrimRight(string(serial), "\n\x00")
		switch {
		case strings.TrimSpace(string(readOnly)) == "1":
			d.lower, d.used = append(d.lower, name), append(d.used, device)
		case d.upper == "":
			d.upper, d.used = name, append(d.used, device)
		default:
			d.volumes, d.used = append(d.volumes, name), append(d.used, device)
		}
	}
	if len(d.lower) == 0 {
		return disks{}, errors.New("the machine has no read-only disk")
	}
	return d, nil
}

// restore undoes the rehearsal, whatever has come of it.
func (m *machine) restore(ctx context.Context) error {
	errs := []error{m.reopen(ctx), m.cards.Restore(addresses), identity.SetHostname(m.name)}
	for _, device := range m.disks.used {
		if err := forget(device); err != nil {
			errs = append(errs, fmt.Errorf("forget what was read of %s: %w", device, err))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err == nil && !bytes.Equal(mounts, m.mounts) {
		err = errors.New("there are other mounts than before")
	}
	return errors.Join(append(errs, err)...)
}

// forget has the kernel forget all that it has read of a disk: another will be behind it.
func forget(device string) error {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetInt(fd, unix.BLKFLSBUF, 0), unix.Close(fd))
}
