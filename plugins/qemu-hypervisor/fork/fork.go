// Package fork copies a running process, threads and all, as often as one likes: a QEMU that stands still is forked like any other process, so the copies share its memory page by page,
// and with it what QEMU has learned, above all the code that it has translated for its guest. fork(2) alone copies one thread only and leaves the copy the original's descriptors.
//
// The original is stopped by ptrace(2) for good and never goes on. For each copy, its main thread is made to fork; in the copy, descriptors are exchanged for the
// copy's own, eventfds for new ones, and every other thread is made again where the original's stands: same stack, same registers, same thread-local storage. That is enough for a program that shares nothing else with
// the world: no timers (fork drops them), no io_uring, no shared mappings, no locks that remember a thread's number. QEMU with emulated CPUs is one.
//
// Files: original_*.go is the process that is copied, copy_*.go the making of one, foresee_*.go the pages that it is given beforehand, thread_*.go the state of a thread, call_*.go system calls in another process, filter_*.go what an original and its copies may not call.
package fork

import (
	"errors"
	"os"
)

// ErrUnsupported says that processes are not forked on this system.
var ErrUnsupported = errors.New("processes can be forked on linux/amd64 only")

// Plan is what a copy has of its own.
type Plan struct {
	// Files take the places of the original's, by descriptor. They are the caller's, who may close them after the copy is made. Those that the original has set not to block must be so as well.
	Files map[int]*os.File
	// DieWith is the descriptor in the copy of the reading end of a pipe on which nothing is ever written. When its last writing end is closed, the kernel kills the copy.
	DieWith int
	// Handover is the other end of a socket for Again, or nil: the copy is not copied.
	Handover *os.File
	// Name is written over the original's argument that follows "-name", for who lists processes, if it is no longer; "" leaves it.
	Name string
}
