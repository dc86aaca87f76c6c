package standby

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Messages are JSON, one in a packet, with their files beside it. Both sides are the same user's, and the same program's as a rule; another one's is refused by its version.
const (
	version    = 1
	maxMessage = 64 << 10
	maxFiles   = 64
)

// request asks for a copy.
type request struct {
	Version int
	Name    string // the VM's id
	Disks   int
	Links   int
	Shares  int
	Console bool
	Lasting []Lasting // of the disks
	Reads   []string  // paths on those that are probably read first
	Fresh   *Fresh    `json:",omitempty"` // of the disks
}

// made is the answer. The copy's pidfd comes with it, and what is to be changed of the fresh disk.
type made struct {
	Version int
	Error   string  `json:",omitempty"`
	PID     int     `json:",omitempty"`
	Primed  bool    `json:",omitempty"` // its guest knows the image
	Changes bool    `json:",omitempty"` // the fresh disk has to be changed before the guest goes on
	Sizes   []int64 // of the disks as the guest knows them, in bytes
	Console []byte  // what the guest has said before
}

// ended follows when the copy has ended.
type ended struct{ How string }

func send(conn *net.UnixConn, message any, files []*os.File) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
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

// receive returns the files that came with the message; they are the caller's, also after an error.
func receive(conn *net.UnixConn, message any) (files []*os.File, err error) {
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
		return files, errors.New("a message is too long")
	case n == 0:
		return files, net.ErrClosed
	}
	if err := json.Unmarshal(text[:n], message); err != nil {
		return files, fmt.Errorf("read a message: %w", err)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, file := range files {
		_ = file.Close() // nothing was written to them
	}
}

// ours wants the other end to be this program: a QEMU that was taken over by its guest is this user's, too.
func ours(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/exe", peer.Pid))
	if err != nil {
		return err
	}
	own, err := os.Stat("/proc/self/exe")
	if err == nil && !os.SameFile(own, theirs) {
		err = errors.New("the other end is another program")
	}
	return err
}
