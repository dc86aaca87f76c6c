//go:build !linux

package sockets

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"

	"github.com/vzctl/vzctl/sdk/fault"
)

// listener is a socket that was made here.
type listener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

// listen makes a socket. Paths are as long as the system's addresses, and what somebody else puts there at the same moment is not seen.
func listen(s Socket) (*listener, error) {
	if info, err := os.Lstat(s.Host); err == nil {
		taken := &fault.Error{Reason: fault.AlreadyExists, Cause: errors.New("there is something else"), Hint: "choose another path"}
		if info.Mode().Type() != fs.ModeSocket {
			return nil, taken
		}
		if conn, err := net.Dial("unix", s.Host); err == nil {
			return nil, errors.Join(taken, conn.Close())
		}
		if err := os.Remove(s.Host); err != nil {
			return nil, err
		}
	}
	made, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Host, Net: "unix"})
	if err != nil {
		return nil, err
	}
	made.SetUnlinkOnClose(false)
	l := &listener{UnixListener: made, path: s.Host}
	if l.made, err = os.Lstat(s.Host); err == nil {
		err = os.Chmod(s.Host, s.Mode.Perm())
	}
	if err == nil && (s.UID != nil || s.GID != nil) {
		uid, gid := -1, -1
		if s.UID != nil {
			uid = *s.UID
		}
		if s.GID != nil {
			gid = *s.GID
		}
		err = os.Chown(s.Host, uid, gid)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// close stops listening and takes the socket away, unless somebody has put something else there.
func (l *listener) close() error {
	err := l.UnixListener.Close()
	if info, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(info, l.made) {
		err = errors.Join(err, os.Remove(l.path))
	}
	return err
}

func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}
