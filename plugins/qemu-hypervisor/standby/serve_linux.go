package standby

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
)

// requestPatience bounds how long one who asks may take to say what for.
const requestPatience = 5 * time.Second

// Holder holds a VM that stands by.
type Holder struct {
	Place       Place
	Key         string
	Original    *fork.Original
	Descriptors Descriptors
	Closed      []int // descriptors that copies do without
	Sizes       []int64
	Console     []byte
	Description string // of the VM, for people
	// Failed is told of a copy that could not be made.
	Failed func(error)
	// Keep is how long the VM stands by after it was last forked.
	Keep time.Duration
}

// Serve makes copies for who asks, until nobody has for Keep, the directory is removed or ctx ends. Copies live on, and it returns when the last has ended: they are children of this process. gone is
// called when there are no more copies to be had.
func (h *Holder) Serve(ctx context.Context, gone func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listener, err := h.listen()
	if err != nil {
		return err
	}
	removed, err := awaitRemoval(ctx, h.Place.Dir(h.Key))
	if err == nil {
		err = h.announce()
	}
	if err != nil {
		_ = listener.Close()
		return err
	}
	idle := time.NewTimer(h.Keep)
	defer idle.Stop()
	asked := make(chan *net.UnixConn)
	go func() { // ends with the listener
		defer close(asked)
		for {
			conn, err := listener.AcceptUnix()
			if err != nil {
				return
			}
			asked <- conn
		}
	}()
	var copies sync.WaitGroup
	for serving := true; serving; {
		select {
		case conn, ok := <-asked:
			if !ok {
				serving = false
				break
			}
			idle.Reset(h.Keep)
			h.used()
			if err := h.answer(conn, &copies); err != nil {
				_ = conn.Close()
			}
		case <-idle.C:
			serving = false
		case <-removed:
			serving = false
		case <-ctx.Done():
			serving = false
		}
	}
	_ = listener.Close()
	for conn := range asked {
		_ = conn.Close()
	}
	h.Original.Release()
	gone()
	copies.Wait()
	return nil
}

func (h *Holder) listen() (*net.UnixListener, error) {
	dir, err := unix.Open(h.Place.Dir(h.Key), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(dir) }()
	if err := os.Remove(filepath.Join(h.Place.Dir(h.Key), socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, socketName), Net: "unixpacket"})
	if err == nil {
		listener.SetUnlinkOnClose(false) // by that name it is not there any more
	}
	return listener, err
}

// awaitRemoval returns a channel that is closed when a directory is removed.
func awaitRemoval(ctx context.Context, dir string) (<-chan struct{}, error) {
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
		defer stop()
		event := make([]byte, 4<<10)
		_, _ = file.Read(event) // any: nobody but its owner removes anything there
		close(removed)
	}()
	return removed, nil
}

// answer makes a copy for one who asks. The connection is kept until the copy has ended, if there is no error.
func (h *Holder) answer(conn *net.UnixConn, copies *sync.WaitGroup) error {
	if err := conn.SetDeadline(time.Now().Add(requestPatience)); err != nil {
		return err
	}
	var r request
	files, err := receive(conn, &r)
	if err != nil {
		closeAll(files)
		return err
	}
	pid, err := h.fork(r, files)
	closeAll(files) // first: who is refused goes on without, and they may be locked
	if err != nil {
		h.Failed(err)
		return send(conn, made{Version: version, Error: err.Error()}, nil)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return errors.Join(err, unix.Kill(pid, unix.SIGKILL))
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		handle := os.NewFile(uintptr(pidfd), "pidfd")
		err = send(conn, made{Version: version, PID: pid, Sizes: h.Sizes, Console: h.Console}, []*os.File{handle})
		_ = handle.Close()
	}
	if err != nil {
		_ = process.Kill()
	}
	copies.Go(func() {
		state, waitErr := process.Wait()
		how := ""
		if waitErr == nil {
			how = state.String()
		}
		if conn.SetDeadline(time.Now().Add(requestPatience)) == nil {
			_ = send(conn, ended{how}, nil) // who asked may be gone
		}
		_ = conn.Close()
	})
	return nil
}

func (h *Holder) fork(r request, files []*os.File) (pid int, err error) {
	d := h.Descriptors
	switch {
	case r.Version != version:
		return 0, fmt.Errorf("the holder speaks version %d", version)
	case r.Disks != len(d.Disks), r.Links != len(d.Links), r.Shares != len(d.Shares), r.Console != (d.Console >= 0), len(files) != len(d.list()):
		return 0, errors.New("the VM that stands by has other devices")
	}
	plan := fork.Plan{Files: map[int]*os.File{}, Closed: h.Closed, DieWith: d.Life, Name: r.Name}
	for i, descriptor := range d.list() {
		plan.Files[descriptor] = files[i]
	}
	if pid, err = h.Original.Copy(plan); err != nil {
		return 0, err
	}
	// Its owner may have ended before the copy was told to end with it.
	poll := []unix.PollFd{{Fd: int32(files[3].Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 0); err == nil && n > 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return pid, nil
}
