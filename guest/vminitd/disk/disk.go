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

// Disks finds disks below two directories, which tests replace.
type Disks struct {
	sys, dev string
}

// New returns the machine's.
func New() Disks { return Disks{sys: "/sys/block", dev: "/dev"} }

// maxSerial is virtio-blk's VIRTIO_BLK_ID_BYTES.
const maxSerial = 20

// Find returns the device of the disk, waiting for it to appear until ctx ends.
func (d Disks) Find(ctx context.Context, serial string) (string, error) {
	if serial == "" || len(serial) > maxSerial || strings.ContainsAny(serial, "\x00/\n") {
		return "", fmt.Errorf("disk serial %.40q is not possible", serial)
	}
	if device := d.scan(serial); device != "" {
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

// scan asks each virtio disk, in the order in which the kernel found them: a disk of another VM that this one was cloned from is another disk now.
func (d Disks) scan(serial string) string {
	entries, err := os.ReadDir(d.sys)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "vd") && d.serial(e.Name()) == serial {
			return filepath.Join(d.dev, e.Name())
		}
	}
	return ""
}

// serial asks a disk for its serial; "" if it has none.
func (d Disks) serial(name string) string {
	text, err := os.ReadFile(filepath.Join(d.sys, name, "serial"))
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(text), "\n\x00")
}

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
