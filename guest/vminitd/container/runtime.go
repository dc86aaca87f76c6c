package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/seccomp"
	"github.com/vzctl/vzctl/guest/vminitd/disk"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/launch"
	"github.com/vzctl/vzctl/guest/vminitd/phase"
	"github.com/vzctl/vzctl/guest/vminitd/reap"
	"github.com/vzctl/vzctl/guest/vminitd/rootfs"
	"github.com/vzctl/vzctl/guest/vminitd/sockets"
	"github.com/vzctl/vzctl/guest/vminitd/stdio"
	"github.com/vzctl/vzctl/sdk/fault"
)

// directory is where containers' files and mounts are, each below its id.
const directory = "/run/vzctl/containers"

// places is where all containers' mount points are, see rootfs.MakePlaces.
const places = "/run/vzctl/places"

// Runtime holds the containers. Its methods may be called by many at once.
type Runtime struct {
	reaper *reap.Reaper
	disks  disk.Disks
	// ready is closed once the machine can hold containers.
	ready    chan struct{}
	readyErr error
	work     sync.WaitGroup // goroutines that wait for processes
	freezing sync.Mutex     // held by Freeze and Thaw
	always   helper.Filter  // of every container's system calls
	pipes    stdio.Spare
	dial     sockets.Dial // to the host
	// unreadable is the helper's program for processes in user namespaces.
	unreadable func() (*os.File, error)

	mu         sync.Mutex
	containers map[string]*Container
	spare      *spare  // for the next container; nil if there is none
	primed     *primed // see Prime; nil if it was not called
	closed     bool
	watchers   map[chan Event]bool // those who want to hear of the ends of processes are true
}

// NewRuntime returns a runtime without containers. prepare makes the machine fit for them; it runs beside the caller, which need not wait, see Ready: what
// needs it does. dial is the way to the host.
func NewRuntime(reaper *reap.Reaper, disks disk.Disks, prepare func() error, dial sockets.Dial) *Runtime {
	r := &Runtime{reaper: reaper, disks: disks, dial: dial, unreadable: launch.Unreadable(), ready: make(chan struct{}),
		containers: map[string]*Container{}, watchers: map[chan Event]bool{}, always: encodeFilter(seccomp.Always(runtime.GOARCH))}
	r.work.Go(func() {
		defer close(r.ready)
		if r.readyErr = errors.Join(prepare(), os.MkdirAll(directory, 0o700), rootfs.MakePlaces(places)); r.readyErr != nil {
			return
		}
		made, err := newSpare(r)
		if err != nil { // the first container takes longer, and says so if it is for a reason
			fmt.Fprintln(os.Stderr, "vminitd: prepare for a container:", err)
			return
		}
		r.spare = made
		r.pipes.Refill()
	})
	return r
}

// Ready is closed once all is done that can be done before it is known which container comes.
func (r *Runtime) Ready() <-chan struct{} { return r.ready }

// takeSpare returns what was prepared for a container, once.
func (r *Runtime) takeSpare() *spare {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.spare
	r.spare = nil
	return taken
}

// Create prepares a container; nothing of it runs yet. A failed call leaves nothing.
func (r *Runtime) Create(ctx context.Context, request Request) error {
	if err := checkID("container", request.ID); err != nil {
		return err
	}
	<-r.ready
	if r.readyErr != nil {
		return r.readyErr
	}
	phase.Done(ctx, "ready")
	c := &Container{id: request.ID, runtime: r, dir: filepath.Join(directory, request.ID), processes: map[string]*Process{}}
	if err := r.reserve(c); err != nil {
		return err
	}
	if err := c.build(ctx, request); err != nil {
		if undoErr := c.undo(ctx); undoErr != nil {
			err = errors.Join(err, undoErr)
		}
		r.forget(c)
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.processes[InitProcess] = c.init
	c.created = true
	if len(r.watchers) > 0 {
		c.watchMemory()
	}
	return nil
}

func (r *Runtime) reserve(c *Container) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errShutdown()
	}
	if r.containers[c.id] != nil {
		return &fault.Error{Reason: fault.AlreadyExists, Op: "create container", Subject: c.id}
	}
	r.containers[c.id] = c
	return nil
}

func (r *Runtime) forget(c *Container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, c.id)
}

func errShutdown() error {
	return &fault.Error{Reason: fault.FailedPrecondition, Op: "create", Cause: errors.New("the VM is shutting down")}
}

// container returns a created one; with the lock held.
func (r *Runtime) container(id string) (*Container, error) {
	c := r.containers[id]
	if c == nil {
		return nil, &fault.Error{Reason: fault.NotFound, Op: "find container", Subject: id}
	}
	if !c.created || c.deleting != nil {
		return nil, &fault.Error{Reason: fault.FailedPrecondition, Op: "use container", Subject: id, Cause: errors.New("it is being created or deleted")}
	}
	return c, nil
}

// Process returns a process of a container.
func (r *Runtime) Process(container, process string) (*Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(container)
	if err != nil {
		return nil, err
	}
	p := c.processes[process]
	if p == nil {
		return nil, &fault.Error{Reason: fault.NotFound, Op: "find process", Subject: process}
	}
	return p, nil
}

// CreateProcess prepares another process of a running container, which may find its input at its end. A terminal's has none. The spec is the process's from now on.
func (r *Runtime) CreateProcess(container, process string, spec *specs.Process, user string, inputEnded bool) (*Process, error) {
	if err := checkID("process", process); err != nil {
		return nil, err
	}
	if err := checkProcess(spec); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(container)
	if err != nil {
		return nil, err
	}
	if _, err := c.runningInit(); err != nil {
		return nil, err
	}
	if c.processes[process] != nil {
		return nil, &fault.Error{Reason: fault.AlreadyExists, Op: "create process", Subject: process}
	}
	inherit(spec, c.spec.Process)
	p, err := newProcess(c, process, helper.Config{Process: spec, User: user, Groups: c.groups, Filters: c.filters, IDs: c.userns.IDs()}, inputEnded)
	if err != nil {
		return nil, err
	}
	c.processes[process] = p
	return p, nil
}

// DeleteProcess forgets a process that does not run. Idempotent.
func (r *Runtime) DeleteProcess(container, process string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(container)
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	p := c.processes[process]
	if p == nil {
		return nil
	}
	if p.running() != nil || process == InitProcess {
		return p.wrongState("delete process", "it runs, or is the container's first")
	}
	p.delete()
	delete(c.processes, process)
	return nil
}

// Rest prepares for the next process, while nobody waits.
func (r *Runtime) Rest() { r.pipes.Refill() }

// SignalAll sends a signal to all processes of a container.
func (r *Runtime) SignalAll(container string, signal unix.Signal) error {
	r.mu.Lock()
	c, err := r.container(container)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	if signal == unix.SIGKILL {
		// In this order: a freeze under way may wait for one of them, see thawFiles.
		return errors.Join(c.group.Kill(), c.thawFiles())
	}
	pids, err := c.group.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids { // one that ends meanwhile had its end anyway
		if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return &fault.Error{Reason: fault.Invalid, Op: "signal container", Subject: container, Cause: err}
		}
	}
	return nil
}

// Delete kills what runs of a container and removes all of it. Idempotent.
func (r *Runtime) Delete(ctx context.Context, id string) error { return r.remove(ctx, id, false) }

// remove is Delete; see destroy for last.
func (r *Runtime) remove(ctx context.Context, id string, last bool) error {
	for {
		r.mu.Lock()
		c := r.containers[id]
		if c == nil {
			r.mu.Unlock()
			return nil
		}
		if !c.created {
			r.mu.Unlock()
			return &fault.Error{Reason: fault.FailedPrecondition, Op: "delete container", Subject: id, Cause: errors.New("it is being created")}
		}
		if other := c.deleting; other != nil {
			r.mu.Unlock()
			select {
			case <-other: // and see what came of it
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		done := make(chan struct{})
		c.deleting = done
		processes := slices.Collect(maps.Values(c.processes))
		r.mu.Unlock()
		err := c.destroy(ctx, processes, last)
		r.mu.Lock()
		defer r.mu.Unlock()
		defer close(done)
		c.deleting = nil
		if err != nil {
			return &fault.Error{Reason: fault.ReasonOf(err), Op: "delete container", Subject: id, Cause: err}
		}
		delete(r.containers, id)
		return nil
	}
}

// Summary is a container as lists show it.
type Summary struct {
	ID        string
	Processes []ProcessSummary
}

// ProcessSummary is a process as lists show it.
type ProcessSummary struct {
	ID   string
	Pid  int   // 0 unless it runs
	Exit *Exit // once it has ended
}

// List returns all containers, sorted.
func (r *Runtime) List() (all []Summary) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		s := Summary{ID: c.id}
		for _, p := range c.processes {
			ps := ProcessSummary{ID: p.id}
			if child := p.running(); child != nil {
				ps.Pid = child.Pid
			} else if p.ended() {
				ps.Exit = &p.exit
			}
			s.Processes = append(s.Processes, ps)
		}
		slices.SortFunc(s.Processes, func(a, b ProcessSummary) int { return strings.Compare(a.ID, b.ID) })
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Summary) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Close ends all containers and takes no new ones; their disks are as after a deletion. The machine is to end then. What it could not do it reports, having done the rest.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	ids := slices.Collect(maps.Keys(r.containers))
	r.mu.Unlock()
	errs := make([]error, len(ids))
	var deletions sync.WaitGroup
	for i, id := range ids {
		deletions.Go(func() { errs[i] = r.remove(ctx, id, true) })
	}
	deletions.Wait()
	err := errors.Join(errs...)
	if err == nil {
		r.work.Wait()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watchers {
		close(w)
	}
	r.watchers = nil
	return err
}
