package serialmux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/nonblock"
)

// PortName is the name of the virtio-serial port that carries the sessions.
const PortName = "vzctl.mux.0"

// OpenPort returns an Opener of the virtio-serial port with this name. It waits for the kernel to find the port, so it can be used as the first
// thing a guest does, and needs /sys and /dev mounted.
func OpenPort(name string) Opener {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		device, err := findPort(ctx, name)
		if err != nil {
			return nil, err
		}
		file, err := os.OpenFile(device, os.O_RDWR|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		if err := awaitHost(ctx, file); err != nil {
			_ = file.Close()
			return nil, err
		}
		if !takesPages() {
			return bytewise{port{nonblock.Of(file), file, file}}, nil
		}
		return FromFile(file), nil
	}
}

// bytewise is a port that no pages can be moved to.
type bytewise struct{ port }

// takesPages reports whether the driver of ports is our kernel's. Others, when they are given a pipe's pages, describe empty buffers of it to the host as well, and beyond the end of their list; a process need only write from memory
// that cannot be read to have one in its output.
func takesPages() bool {
	_, err := os.Stat(nonblock.PipeOrderFile)
	return err == nil
}

// FromFile makes the pipe of a session of an open device or socket, which is the pipe's from now on. Best it is one that does not block.
func FromFile(file *os.File) io.ReadWriteCloser { return port{nonblock.Of(file), file, file} }

// port is the open device.
type port struct {
	io.ReadWriter
	io.Closer
	syscall.Conn // for a Sender
}

// findPort returns the device of the port. The kernel learns of ports and their names from the host a moment after it has found the card they are
// on, and tells by uevents.
func findPort(ctx context.Context, name string) (string, error) {
	if device := scanPorts(name); device != "" {
		return device, nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return "", fmt.Errorf("listen for new devices: %w", err)
	}
	events := os.NewFile(uintptr(fd), "uevents")
	defer func() { _ = events.Close() }()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return "", fmt.Errorf("listen for new devices: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	event := make([]byte, 16<<10)
	for {
		if device := scanPorts(name); device != "" {
			return device, nil
		}
		if _, err := events.Read(event); err != nil && !errors.Is(err, syscall.ENOBUFS) {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return "", fmt.Errorf("wait for the serial port %q: %w", name, err)
		}
	}
}

func scanPorts(name string) string {
	paths, _ := filepath.Glob("/sys/class/virtio-ports/*/name") // its only error is a bad pattern
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == name {
			return "/dev/" + filepath.Base(filepath.Dir(path))
		}
	}
	return ""
}

// awaitHost returns when the host's end is open. While it is not, the device says hang-up, and reads give end of file.
func awaitHost(ctx context.Context, file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if err := file.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("%s cannot be waited for: %w", file.Name(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	err = raw.Write(func(fd uintptr) bool { // called at first, and again at each change of the device
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(polled, 0)
		return err == nil && (n == 0 || polled[0].Revents&unix.POLLHUP == 0)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
