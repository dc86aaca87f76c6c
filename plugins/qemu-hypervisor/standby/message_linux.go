package standby

import (
	"errors"
	"net"

	"github.com/vzctl/vzctl/sdk/rendezvous"
)

// Messages are JSON, one in a packet, with their files beside it. Both sides are the same user's, and the same program's as a rule; another one's is refused by its version.
const version = 1

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

// ours wants the other end to be this program: a QEMU that was taken over by its guest is this user's, too.
func ours(conn *net.UnixConn) error {
	_, same, err := rendezvous.Peer(conn, "/proc/self/exe")
	if err == nil && !same {
		err = errors.New("the other end is another program")
	}
	return err
}
