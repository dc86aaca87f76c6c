// Package standby is how a VM that stands by to be forked and those who want a copy of it find each other. The VM is held by a process of its own, the holder, which outlives
// the container that it was begun for; others ask it for a copy by a socket, and give it all that the copy has of its own: monitor, console, disks, links. The copy is the holder's child, but lives and
// dies with who asked for it.
//
// Files: place.go is where holders are and how many there may be, message.go what is said, ask.go the side of who wants a copy, serve.go the holder's. What makes the next copy quicker: primed.go knows images, layer.go and change.go have an
// empty layer mounted, foresight.go looks at what copies write to, idler.go begins one while nobody waits. What is copied and how, package fork knows;
// how a VM is made to stand by, package vm.
package standby

import (
	"errors"
	"os"
	"slices"
)

// ErrNone says that no VM of the shape stands by.
var ErrNone = errors.New("no VM of this shape stands by")

// Files are what a copy has of its own. They are the caller's, who may close them when the copy runs. Monitor and Links must not block, nor Mux.
type Files struct {
	Monitor *os.File // connected socket
	Mux     *os.File // listening socket
	Stderr  *os.File
	Life    *os.File // reading end of a pipe: when the other end closes, the copy dies
	Console *os.File // connected socket; nil if the VM has no console
	Disks   []*os.File
	Lasting []Lasting  // of the disks
	Reads   []string   // paths on those that are probably read first
	Fresh   *Fresh     // of the disks; nil: none
	Links   []*os.File // connected sockets
	Shares  []*os.File // directories
}

// Lasting is a disk of which the contents never change.
type Lasting struct {
	Index      int // in the list of disks
	Serial     string
	FileSystem string
}

// Fresh is a disk that is probably an empty writable layer.
type Fresh struct {
	Index      int // in the list of disks
	Serial     string
	FileSystem string
}

// lifeFile is the number of Life in the list.
const lifeFile = 3

// list has the files in the order of the message.
func (f Files) list() []*os.File {
	files := []*os.File{f.Monitor, f.Mux, f.Stderr, f.Life}
	if f.Console != nil {
		files = append(files, f.Console)
	}
	return slices.Concat(files, f.Disks, f.Links, f.Shares)
}

// Descriptors are those by which the original has what a copy has of its own.
type Descriptors struct {
	Monitor, Mux, Stderr, Life int
	Console                    int // negative: none
	Disks, Links, Shares       []int
}

// All returns them, in the order of Files.
func (d Descriptors) All() []int {
	list := []int{d.Monitor, d.Mux, d.Stderr, d.Life}
	if d.Console >= 0 {
		list = append(list, d.Console)
	}
	return slices.Concat(list, d.Disks, d.Links, d.Shares)
}
