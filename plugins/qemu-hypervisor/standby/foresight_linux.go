package standby

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
)

const (
	// lessons is how many copies of an original are looked at: what they have in common is foreseen.
	lessons = 2
	// lookEvery is how long after another a copy is looked at, which takes some milliseconds. Nobody tells when it has started its container, and once it has ended nothing is to be seen.
	lookEvery = 50 * time.Millisecond
	// looks is how often: half a second is a start, also where it is slow.
	looks = 10
)

// foresight knows what the copies of each original write to at first. It belongs to one goroutine, but for look.
type foresight struct {
	known   map[*fork.Original]*lesson
	learned chan learned // what look has seen
	foresee func(*fork.Original, fork.Pages)
}

type lesson struct {
	had   int
	busy  bool // one is looked at
	pages fork.Pages
}

type learned struct {
	original *fork.Original
	pages    fork.Pages
}

func newForesight() *foresight {
	return &foresight{known: map[*fork.Original]*lesson{}, learned: make(chan learned, 1), foresee: (*fork.Original).Foresee}
}

// wants says whether the next copy of an original is to be looked at, which then has to be.
func (f *foresight) wants(original *fork.Original) bool {
	l := f.known[original]
	if l == nil {
		l = &lesson{}
		f.known[original] = l
	}
	if l.busy || l.had == lessons {
		return false
	}
	l.busy = true
	return true
}

// look sees what a copy writes to until it ends, or for a while, and then tells it. Nobody may have waited for it.
func (f *foresight) look(ctx context.Context, original *fork.Original, pid int) {
	seen := learned{original: original}
	if process, err := unix.PidfdOpen(pid, 0); err == nil {
		ended := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}
		for range looks {
			if n, err := unix.Poll(ended, int(lookEvery.Milliseconds())); n != 0 && !errors.Is(err, unix.EINTR) {
				break
			}
			pages, err := original.Written(pid)
			if err != nil { // it has just ended, or is one that writes much: what it began with is foreseen
				break
			}
			seen.pages = pages
		}
		_ = unix.Close(process)
	}
	select {
	case f.learned <- seen:
	case <-ctx.Done():
	}
}

// learn has what a copy was seen to write to foreseen for others.
func (f *foresight) learn(l learned, p *primer) {
	for original := range f.known {
		if !p.has(original) {
			delete(f.known, original)
		}
	}
	k := f.known[l.original]
	if k == nil {
		return
	}
	k.busy = false
	if len(l.pages) == 0 {
		return // it ended at once
	}
	if k.had++; k.had > 1 {
		l.pages = k.pages.Common(l.pages)
	}
	k.pages = l.pages
	f.foresee(l.original, k.pages)
}
