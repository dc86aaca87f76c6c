package fork

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A page that a copy writes to has to be copied then, by the kernel, while the copy waits: some microseconds for each of thousands. Copies do much the same at first, so what some of them have written to is copied beforehand in those
// that are begun while nobody waits.

const (
	pageSize = 4 << 10
	// maxForeseen bounds what memory a copy that is begun takes: 16 MiB.
	maxForeseen = 4 << 10
	// touchedAtOnce is how many pages are copied at a time; who wants a copy waits for no more.
	touchedAtOnce = 256

	// Of an entry in /proc/PID/pagemap.
	entrySize      = 8
	entryPresent   = 1 << 63
	entryFile      = 1 << 61
	entryExclusive = 1 << 56
)

// Pages are addresses of pages of an original's memory, ascending.
type Pages []uint64

// Common returns what both have.
func (p Pages) Common(other Pages) Pages {
	var common Pages
	for _, page := range p {
		if _, found := slices.BinarySearch(other, page); found {
			common = append(common, page)
		}
	}
	return common
}

// Written returns the pages that a copy has of its own by now: those it has written to. It must not have been waited for. Without such a process, or one that has ended, or with more pages than are worth to be foreseen, there is an error.
func (o *Original) Written(pid int) (Pages, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var pages Pages
	entries := make([]byte, 64<<10)
	for _, a := range o.writable {
		for at := a.begin; at < a.end; {
			part := entries[:min(uint64(len(entries)), (a.end-at)/pageSize*entrySize)]
			n, err := file.ReadAt(part, int64(at/pageSize*entrySize))
			if n < len(part) {
				return nil, errors.Join(fmt.Errorf("read %s: %w", file.Name(), io.ErrUnexpectedEOF), err)
			}
			for i := 0; i < len(part); i, at = i+entrySize, at+pageSize {
				entry := binary.NativeEndian.Uint64(part[i:])
				if entry&entryPresent == 0 || entry&entryFile != 0 || entry&entryExclusive == 0 {
					continue // or it is the original's, too
				}
				if len(pages) == maxForeseen {
					return nil, errors.New("too many pages")
				}
				pages = append(pages, at)
			}
		}
	}
	return pages, nil
}

// Foresee has copies that are begun by Park have some pages of their own from then on.
func (o *Original) Foresee(pages Pages) {
	_ = o.traced(func() error {
		o.foreseen = pages
		return nil
	})
}

// touch gives a copy that nobody has taken yet the pages that are foreseen, until it has them all.
func (o *Original) touch(c *copied) {
	for first, done := 0, false; !done; first += touchedAtOnce {
		err := o.traced(func() error {
			if done = o.parked != c || first >= len(o.foreseen); done {
				return nil
			}
			return c.memory.touch(o.foreseen[first:min(first+touchedAtOnce, len(o.foreseen))])
		})
		if err != nil {
			return // it has been killed, or there is no memory: who takes it hears of that
		}
	}
}

// touch writes to each of some pages what it has already.
func (m memory) touch(pages Pages) error {
	data := make([]byte, len(pages))
	local := unix.Iovec{Base: unsafe.SliceData(data), Len: uint64(len(data))}
	remote := make([]unix.RemoteIovec, len(pages))
	for i, page := range pages {
		remote[i] = unix.RemoteIovec{Base: uintptr(page), Len: 1}
	}
	if n, err := unix.ProcessVMReadv(int(m), []unix.Iovec{local}, remote, 0); err != nil || n != len(data) {
		return errors.Join(err, io.ErrUnexpectedEOF)
	}
	if n, err := unix.ProcessVMWritev(int(m), []unix.Iovec{local}, remote, 0); err != nil || n != len(data) {
		return errors.Join(err, io.ErrShortWrite)
	}
	return nil
}
