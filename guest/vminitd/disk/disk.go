// Package disk finds virtio disks by their serial. Letters say only in which order the kernel met them.
package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Disks finds disks.
type Disks struct {
	sys, dev string // directories
	boot     []bootDisk
}

// bootDisk is one that was there at boot. Its serial may be another by now, if the VM was cloned.
type bootDisk struct {
	name   string
	serial int // descriptor of the file that says it, open for good: a clone need not look for it
}

// New returns the machine's.
func New() Disks { return open("/sys/block", "/dev") }

func open(sys, dev string) Disks {
	d := Disks{sys: sys, dev: dev}
	for _, name := range d.names() {
		if fd, err := unix.Open(d.serialFile(name), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil { // or scan will find it
			d.boot = append(d.boot, bootDisk{name, fd})
		}
	}
	return d
}

// maxSerial is virtio-blk's VIRTIO_BLK_ID_BYTES.
const maxSerial = 20

// Find returns the device of the disk, waiting for it to appear until ctx ends.
func (d Disks) Find(ctx context.Context, serial string) (string, error) {
	if serial == "" || len(serial) > maxSerial || strings.ContainsAny(serial, "\x00/\n") {
		return "", fmt.Errorf("disk serial %.40q is not possible", serial)
	}
	if device := d.atBoot(serial); device != "" {
		return device, nil
	}
	events, err := uevents()
	if err != nil {
		return "", fmt.Errorf("listen for new disks: %w", err)
	}
	defer func() { _ = events.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	event := make([]byte, 16<<10)
	for {
		if device := d.scan(serial); device != "" { // at first too: it may have come before we listened
			return device, nil
		}
		if _, err := events.Read(event); err != nil && !errors.Is(err, syscall.ENOBUFS) {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return "", fmt.Errorf("wait for the disk with serial %q: %w", serial, err)
		}
	}
}

// atBoot asks each disk that was there at boot, in the order in which the kernel found them: a disk of another VM that this one was cloned from is another disk now.
func (d Disks) atBoot(serial string) string {
	text := make([]byte, 2*maxSerial)
	for _, disk := range d.boot {
		if n, err := unix.Pread(disk.serial, text, 0); err == nil && trim(text[:n]) == serial {
			return filepath.Join(d.dev, disk.name)
		}
	}
	return ""
}

// scan asks each virtio disk that is there now.
func (d Disks) scan(serial string) string {
	for _, name := range d.names() {
		if text, err := os.ReadFile(d.serialFile(name)); err == nil && trim(text) == serial {
			return filepath.Join(d.dev, name)
		}
	}
	return ""
}

// names are those of the virtio disks.
func (d Disks) names() (names []string) {
	entries, err := os.ReadDir(d.sys)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "vd") {
			names = append(names, e.Name())
		}
	}
	return names
}

func (d Disks) serialFile(name string) string { return filepath.Join(d.sys, name, "serial") }

func trim(serial []byte) string { return strings.TrimRight(string(serial), "\n\x00") }

func uevents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, err
	}
	events := os.NewFile(uintptr(fd), "uevents")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return nil, errors.Join(err, events.Close())
	}
	return events, nil
}
