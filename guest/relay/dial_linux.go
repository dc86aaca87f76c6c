package relay

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// slice is how long a connect waits before it looks whether it is still wanted.
const slice = 250 * time.Millisecond

// DialUnix connects to a unix socket, until ctx ends. One who listens and has a full backlog is waited for, as a process that blocks in connect(2) does and package net does
// not: it gives up at once. Errors are a bare unix.Errno, or that of ctx.
func DialUnix(ctx context.Context, path string) (*net.UnixConn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "unix")
	defer func() { _ = file.Close() }() // the connection has a copy
	if err := connect(ctx, fd, path); err != nil {
		return nil, err
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

func connect(ctx context.Context, fd int, path string) error {
	wait := unix.NsecToTimeval(slice.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return err
	}
	for {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{}), unix.SetNonblock(fd, true))
}
