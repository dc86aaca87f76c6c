package rendezvous

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Bounds of a message.
const (
	maxMessage = 64 << 10 // bytes
	maxFiles   = 64
)

// network keeps messages apart.
const network = "unixpacket"

// Listen makes a socket in a directory; what is there under its name is removed. Closing the listener leaves the name, as whoever owns the directory removes that.
func Listen(dir, name string) (*net.UnixListener, error) {
	at, closeDir, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer closeDir()
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix(network, &net.UnixAddr{Name: filepath.Join(at, name), Net: network})
	if err == nil {
		listener.SetUnlinkOnClose(false) // by that name it is not there any more
	}
	return listener, err
}

// Dial reaches it.
func Dial(dir, name string) (*net.UnixConn, error) {
	at, closeDir, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer closeDir()
	return net.DialUnix(network, nil, &net.UnixAddr{Name: filepath.Join(at, name), Net: network})
}

// open returns a short name of a directory, for as long as it is not closed.
func open(dir string) (short string, closeDir func(), err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { _ = unix.Close(fd) }, nil
}

// Send writes a message as JSON, with duplicates of files.
func Send(conn *net.UnixConn, message any, files []*os.File) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(text) > maxMessage || len(files) > maxFiles {
		return errLong
	}
	rights := make([]int, len(files))
	for i, file := range files {
		raw, err := file.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { rights[i] = int(fd) })
		}
		if err != nil {
			return err
		}
	}
	var oob []byte
	if len(rights) > 0 {
		oob = unix.UnixRights(rights...)
	}
	_, _, err = conn.WriteMsgUnix(text, oob, nil)
	return err
}

var errLong = errors.New("a message is too long")

// Receive reads a message. It returns the files that came with it; they are the caller's, also after an error. It is io.EOF once the other end is closed.
func Receive(conn *net.UnixConn, message any) (files []*os.File, err error) {
	text, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := conn.ReadMsgUnix(text, oob)
	if err != nil {
		return nil, err
	}
	control, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, err
	}
	for i := range control {
		rights, err := unix.ParseUnixRights(&control[i])
		if err != nil {
			return files, err
		}
		for _, fd := range rights {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	switch {
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return files, errLong
	case n == 0:
		return files, io.EOF
	}
	if err := json.Unmarshal(text[:n], message); err != nil {
		return files, fmt.Errorf("read a message: %w", err)
	}
	return files, nil
}

// CloseAll closes files to which nothing was written.
func CloseAll(files []*os.File) {
	for _, file := range files {
		_ = file.Close()
	}
}

// Peer returns who is at the other end: its process, and whether that executes the program in a file. A process of the same user may have been taken over, and be there in the place of the one that is meant.
func Peer(conn *net.UnixConn, program string) (pid int, same bool, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, false, err
	}
	if failed != nil {
		return 0, false, os.NewSyscallError("getsockopt", failed)
	}
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/exe", peer.Pid))
	if err != nil {
		return 0, false, err
	}
	wanted, err := os.Stat(program)
	if err != nil {
		return 0, false, err
	}
	return int(peer.Pid), os.SameFile(theirs, wanted), nil
}

// AwaitRemoval returns a channel that is closed when a directory, or anything in it, is removed or moved away, or ctx ends.
func AwaitRemoval(ctx context.Context, dir string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_DELETE|unix.IN_ONLYDIR); err != nil {
		_ = file.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.Close() })
	removed := make(chan struct{})
	go func() {
		defer file.Close()
		defer stop()
		event := make([]byte, 4<<10)
		_, _ = file.Read(event) // any: nobody but its owner removes anything there
		close(removed)
	}()
	return removed, nil
}
