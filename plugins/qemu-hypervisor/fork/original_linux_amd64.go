package fork

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Supported says whether this system has what it takes.
const Supported = true

// Original is a process that is copied. It stands still from when it is taken to its end.
type Original struct {
	pid       int
	handover  *os.File // our end of the socket by which copies get their descriptors
	theirs    int      // its descriptor in the original
	memory    memory
	gadget    uint64
	secret    uint64
	threads   []*thread // the main one first
	events    []event
	name      span
	exchanged []int
	parked    *copied // of the thread that traces; nil if there is none
	foreseen  Pages   // of the thread that traces
	writable  []area  // of its memory
	unsure    bool    // what is in the socket

	work chan func() // for the thread that traces
	over chan struct{}
	once sync.Once
}

// event is an eventfd.
type event struct {
	descriptor int
	count      uint64
}

// Take stops a child of this process for good, to make copies of it. exchanged are the descriptors of which each copy gets its own, by Plan.Files. It has inherited one end of a unix socket of packets as the descriptor theirs, on which it does nothing; handover
// is the other end, and the Original's from now on. The child dies with this process, or when it is released. The child must be allowed to fork; after this call it may not, nor its copies, see filter_*.go.
func Take(pid int, exchanged []int, theirs int, handover *os.File) (*Original, error) {
	return begin(&Original{exchanged: exchanged, pid: pid, handover: handover, theirs: theirs})
}

// Again stops a copy for good, to make copies of it in turn: they have what it has done meanwhile. It was made with Plan.Handover, whose other end handover is, and the new Original's from now on. Otherwise it is as Take.
func (o *Original) Again(pid int, handover *os.File) (*Original, error) {
	return begin(&Original{exchanged: o.exchanged, pid: pid, handover: handover, theirs: o.theirs, secret: o.secret})
}

func begin(o *Original) (*Original, error) {
	o.memory, o.work, o.over = memory(o.pid), make(chan func()), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and not unlocked: what it traces is its own, and ends with it
		for {
			select {
			case do := <-o.work:
				do()
				continue
			case <-o.over:
			}
			o.end()
			return
		}
	}()
	if err := o.traced(o.take); err != nil {
		o.Release()
		return nil, fmt.Errorf("take process %d to copy it: %w", o.pid, err)
	}
	return o, nil
}

// Release ends the original. Copies live on.
func (o *Original) Release() {
	o.once.Do(func() {
		if o.over != nil { // its zero value is none
			close(o.over)
		}
		_ = o.handover.Close()
	})
}

// end kills the original. Its threads are waited for, as the main one does not end before who traces them has; the main one is left to who has started it.
func (o *Original) end() {
	if o.parked != nil {
		o.parked.destroy()
	}
	if len(o.threads) == 0 {
		return
	}
	_ = unix.Kill(o.pid, unix.SIGKILL) // it is not waited for yet, so the number is its own
	for _, t := range o.threads {
		if t.id != o.pid {
			_, _ = unix.Wait4(t.id, nil, unix.WALL, nil)
		}
	}
}

var errReleased = errors.New("it is released")

// traced runs a function on the thread that traces.
func (o *Original) traced(do func() error) error {
	done := make(chan error, 1)
	select {
	case o.work <- func() { done <- do() }:
		return <-done
	case <-o.over:
		return errReleased
	}
}

func (o *Original) take() error {
	if err := o.settle(); err != nil {
		return err
	}
	for _, t := range o.threads {
		if err := ptrace(unix.PTRACE_SETOPTIONS, t.id, 0, options); err != nil {
			return fmt.Errorf("trace thread %d: %w", t.id, err)
		}
	}
	areas, err := areasOf(o.pid)
	if err != nil {
		return err
	}
	if o.gadget, err = findSyscall(o.memory, areas); err != nil {
		return err
	}
	for _, t := range o.threads {
		if err := t.read(o.memory, o.gadget); err != nil {
			return fmt.Errorf("thread %d: %w", t.id, err)
		}
	}
	for _, a := range areas {
		if a.private && a.writable {
			o.writable = append(o.writable, a)
		}
		if !a.dropped {
			continue
		}
		if !a.private {
			return fmt.Errorf("its memory at %x is shared", a.begin)
		}
		if _, err := o.threads[0].call(o.gadget, unix.SYS_MADVISE, a.begin, a.end-a.begin, unix.MADV_DOFORK); err != nil {
			return err
		}
	}
	if o.secret == 0 { // a copy has its original's filter
		if o.secret, err = restrict(o.threads[0], o.memory, o.gadget); err != nil {
			return err
		}
	}
	if o.events, err = eventsOf(o.pid, append(slices.Clone(o.exchanged), o.theirs)); err != nil {
		return err
	}
	o.name, err = nameOf(o.pid)
	return err
}

// settle stops all threads when they wait for something. One that is at work may hold a lock that knows its owner by number (recursive ones of C libraries do), which its copy could not unlock. Nobody
// tells when that is, so the process is looked at, and goes on in between.
func (o *Original) settle() error {
	for range settleLooks {
		if err := o.seize(); err != nil {
			return err
		}
		quiet := true
		for _, t := range o.threads {
			waits, err := t.waits()
			if err != nil {
				return err
			}
			quiet = quiet && waits
		}
		if quiet {
			return o.mainFirst()
		}
		for _, t := range o.threads {
			if err := unix.PtraceDetach(t.id); err != nil {
				return fmt.Errorf("let thread %d go on: %w", t.id, err)
			}
		}
		time.Sleep(settleEvery)
	}
	return errors.New("it does not come to rest")
}

const (
	settleEvery = 2 * time.Millisecond
	settleLooks = 1000
)

// seize stops all threads. Some may end, and new ones may be made, until all are stopped.
func (o *Original) seize() error {
	known := map[int]*thread{}
	for _, t := range o.threads {
		known[t.id] = t
	}
	o.threads = nil
	stopped := map[int]bool{}
	for {
		entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(o.pid), "task"))
		if err != nil {
			return err
		}
		fresh := false
		for _, e := range entries {
			id, err := strconv.Atoi(e.Name())
			if err != nil || stopped[id] {
				continue
			}
			if err := ptrace(unix.PTRACE_SEIZE, id, 0, unix.PTRACE_O_EXITKILL); err != nil {
				if _, gone := os.Lstat(filepath.Join("/proc", strconv.Itoa(o.pid), "task", e.Name())); errors.Is(err, unix.ESRCH) || gone != nil {
					continue // it has just ended
				}
				return fmt.Errorf("trace thread %d: %w", id, err)
			}
			stopped[id], fresh = true, true
			if unix.PtraceInterrupt(id) != nil {
				continue // the same
			}
			if _, err := await(id); errors.Is(err, errEnded) {
				continue
			} else if err != nil {
				return err
			}
			t := known[id]
			if t == nil {
				t = &thread{id: id}
			}
			o.threads = append(o.threads, t)
		}
		if !fresh {
			return nil
		}
	}
}

func (o *Original) mainFirst() error {
	for i, t := range o.threads {
		if t.id == o.pid {
			o.threads[0], o.threads[i] = o.threads[i], o.threads[0]
			return nil
		}
	}
	return errors.New("it has no main thread")
}
