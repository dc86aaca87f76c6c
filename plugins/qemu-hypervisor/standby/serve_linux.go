package standby

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
	"github.com/vzctl/vzctl/sdk/rendezvous"
)

const (
	// requestPatience bounds how long one who asks may take to say what for.
	requestPatience = time.Second
	// oldest is how long a VM may stand by however much it is used: what QEMU was linked with may be upgraded, and the layout of its memory should not be the same for ever.
	oldest = 24 * time.Hour
)

// Holder holds a VM that stands by.
type Holder struct {
	Place       Place
	Key         string
	Original    *fork.Original
	Descriptors Descriptors
	Sizes       []int64
	Console     []byte
	Description string // of the VM, for people
	// Prime makes a copy whose guest knows disks that never change, which are the caller's, and has read some of what is on them; nil if there are none such. It is called by one at a time, beside copies.
	Prime func(ctx context.Context, lasting []Lasting, disks []*os.File, reads []string) (*Primed, error)
	// Mount makes a copy of a primed one with these disks, whose guest has mounted a layer with them. Otherwise it is as Prime.
	Mount func(ctx context.Context, of *Primed, lasting []Lasting, disks []*os.File, layer *Layer) (*Mounted, error)
	// Failed is told of a copy that could not be made.
	Failed func(error)
	// Keep is how long the VM stands by after it was last forked.
	Keep time.Duration

	since time.Time // it stands by
}

// Serve makes copies for who asks, until nobody has for Keep, the directory is removed or ctx ends. Copies live on, and it returns when the last has ended: they are children of this process. gone is
// called when there are no more copies to be had.
func (h *Holder) Serve(ctx context.Context, gone func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listener, err := rendezvous.Listen(h.Place.Dir(h.Key), socketName)
	if err != nil {
		return err
	}
	removed, err := rendezvous.AwaitRemoval(ctx, h.Place.Dir(h.Key))
	if err == nil {
		h.since = time.Now()
		err = h.announce(h.since, 0)
	}
	if err != nil {
		_ = listener.Close()
		return err
	}
	idle, age := time.NewTimer(h.Keep), time.NewTimer(oldest)
	defer idle.Stop()
	defer age.Stop()
	asked := make(chan asking)
	go listenFor(ctx, listener, asked)
	var copies sync.WaitGroup
	primer := newPrimer(h)
	idler, foresight := newIdler(), newForesight()
	defer idler.stop()
	turns := newTurns(turnsPerCPU * runtime.GOMAXPROCS(0)) // which knows quotas, too
	for serving := true; serving; {
		select {
		case <-primer.quiet.C:
			primer.begin(ctx)
		case result := <-primer.done:
			primer.end(result)
		case image := <-primer.gone:
			primer.forget(image)
		case <-idler.due:
			idler.park(primer)
		case l := <-foresight.learned:
			foresight.learn(l, primer)
		case a := <-asked:
			turns.add(a, time.Now())
		case <-turns.wake:
		case <-turns.late.C:
		case <-idle.C:
			serving = false
		case <-age.C:
			serving = false
		case <-removed:
			serving = false
		case <-ctx.Done():
			serving = false
		}
		for serving {
			a, ok := turns.next(time.Now())
			if !ok {
				break
			}
			ended := turns.begun()
			original, err := h.answer(ctx, a, primer, foresight, &copies, func() { ended(); idler.ended() })
			if err != nil {
				ended()
				_ = a.conn.Close()
				serving = !errors.Is(err, errNoCopies)
				continue
			}
			idle.Reset(h.Keep)
			idler.used(original)
			h.used()
		}
	}
	cancel()
	_ = listener.Close()
	turns.close()
	primer.close()
	h.Original.Release()
	gone()
	copies.Wait()
	return nil
}

// asking is one who asks.
type asking struct {
	conn    *net.UnixConn
	request request
	files   []*os.File
	since   time.Time // it waits for its turn
}

// disk returns the file of a disk, of the number that the copy has.
func (a asking) disk(d Descriptors, index int) *os.File {
	return a.files[len(d.All())-len(d.Disks)-len(d.Links)-len(d.Shares)+index]
}

// listenFor hears who asks. It ends with the listener; what is not taken then is closed.
func listenFor(ctx context.Context, listener *net.UnixListener, asked chan<- asking) {
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		go func() { // bounded by requestPatience
			a := asking{conn: conn}
			err := ours(conn)
			if err == nil {
				err = conn.SetDeadline(time.Now().Add(requestPatience))
			}
			if err == nil {
				a.files, err = rendezvous.Receive(conn, &a.request)
			}
			if err == nil {
				select {
				case asked <- a:
					return
				case <-ctx.Done():
				}
			}
			rendezvous.CloseAll(a.files)
			_ = conn.Close()
		}()
	}
}

// errNoCopies says that no more copies can be had.
var errNoCopies = errors.New("no copies can be made")

// errGone says that who has asked did not wait.
var errGone = errors.New("who has asked is gone")

// errRefused says that this one cannot have one.
var errRefused = errors.New("refused")

// answer makes a copy for one who asks. The connection is kept until the copy has ended, if there is no error.
func (h *Holder) answer(ctx context.Context, a asking, primer *primer, foresight *foresight, copies *sync.WaitGroup, over func()) (*fork.Original, error) {
	plan, err := h.plan(a)
	refused := err
	var pid int
	var handle *os.File
	var change *os.File
	original := h.Original
	if err == nil {
		original, change = primer.original(ctx, a)
		pid, handle, err = h.fork(original, plan, a.files)
	}
	if err != nil && original != h.Original && !errors.Is(err, errGone) { // it may have been killed
		primer.fail(original, err)
		original, change = h.Original, nil
		pid, handle, err = h.fork(original, plan, a.files)
	}
	rendezvous.CloseAll(a.files)                            // first: who is refused goes on without, and they may be locked
	_ = a.conn.SetDeadline(time.Now().Add(requestPatience)) // it may have waited for others' copies; if this fails, so does sending
	if err != nil {
		_ = rendezvous.Send(a.conn, made{Version: version, Error: err.Error()}, nil) // it may be gone
		if refused != nil || errors.Is(err, errGone) {
			return nil, errRefused
		}
		h.Failed(err)
		return nil, errNoCopies
	}
	files := []*os.File{handle}
	if change != nil {
		files = append(files, change)
	}
	err = rendezvous.Send(a.conn, made{Version: version, PID: pid, Primed: original != h.Original, Changes: change != nil, Sizes: h.Sizes, Console: h.Console}, files)
	_ = handle.Close()
	if err != nil { // nobody will have it
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	look := err == nil && foresight.wants(original)
	copies.Go(func() {
		defer over()
		if look {
			foresight.look(ctx, original, pid)
		}
		process, err := os.FindProcess(pid) // which nobody else waits for
		how := ""
		if err == nil {
			if state, err := process.Wait(); err == nil {
				how = state.String()
			}
		}
		if a.conn.SetDeadline(time.Now().Add(requestPatience)) == nil {
			_ = rendezvous.Send(a.conn, ended{how}, nil) // who asked may be gone
		}
		_ = a.conn.Close()
	})
	return original, nil
}

// plan is what the copy gets that is asked for.
func (h *Holder) plan(a asking) (fork.Plan, error) {
	d, r := h.Descriptors, a.request
	switch {
	case r.Version != version:
		return fork.Plan{}, fmt.Errorf("the holder speaks version %d", version)
	case r.Disks != len(d.Disks), r.Links != len(d.Links), r.Shares != len(d.Shares), r.Console != (d.Console >= 0), len(a.files) != len(d.All()):
		return fork.Plan{}, errors.New("the VM that stands by has other devices")
	}
	plan := d.plan(a.files)
	plan.Name = r.Name
	return plan, nil
}

func (d Descriptors) plan(files []*os.File) fork.Plan {
	plan := fork.Plan{Files: map[int]*os.File{}, DieWith: d.Life}
	for i, descriptor := range d.All() {
		plan.Files[descriptor] = files[i]
	}
	return plan
}

// PlanOf is the plan of a copy with files of the holder's own.
func (h *Holder) PlanOf(files Files) fork.Plan { return h.Descriptors.plan(files.list()) }

// fork makes a copy, and returns a handle of it.
func (h *Holder) fork(original *fork.Original, plan fork.Plan, files []*os.File) (pid int, handle *os.File, err error) {
	if closed(files[lifeFile]) {
		return 0, nil, errGone
	}
	if pid, err = original.Copy(plan); err != nil {
		return 0, nil, err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil || closed(files[lifeFile]) { // before the copy was told to end with it
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	if err != nil {
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return 0, nil, os.NewSyscallError("pidfd_open", err)
	}
	return pid, os.NewFile(uintptr(pidfd), "pidfd"), nil
}

// closed says whether the other end of a pipe is.
func closed(pipe *os.File) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pipe.Fd()), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}
