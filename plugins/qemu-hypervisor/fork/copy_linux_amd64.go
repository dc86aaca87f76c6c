package fork

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// maxFiles that a copy can get: as many as the kernel passes in a message.
const maxFiles = 253

// cloneThread are the flags by which C libraries make threads.
const cloneThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM | unix.CLONE_SETTLS |
	unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID

// Copy makes a copy, which runs when Copy returns. It is a child of this process, which has to wait for its end, and in a process group of its own.
func (o *Original) Copy(plan Plan) (pid int, err error) {
	err = o.traced(func() error {
		if c := o.parked; c != nil {
			o.parked = nil
			if _, gone := c.do(unix.SYS_GETPID); gone == nil {
				pid = c.main.id
				err := c.become(plan)
				if err != nil {
					c.destroy()
				}
				return err
			}
			c.destroy() // somebody has killed it meanwhile
		}
		c, err := o.begin()
		if err == nil {
			err = c.become(plan)
		}
		if err != nil {
			c.destroy()
		}
		pid = c.main.id
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("copy process %d: %w", o.pid, err)
	}
	return pid, nil
}

// Park makes most of a copy, for the next who wants one: most of the time goes for page tables, and then for the pages that are foreseen. It stands still, and takes memory for these. Without an error there is one then, unless it was
// taken meanwhile: Copy does not wait for Park to return.
func (o *Original) Park() error {
	var begun *copied
	err := o.traced(func() error {
		if o.parked != nil {
			return nil
		}
		c, err := o.begin()
		if err != nil {
			c.destroy()
			return fmt.Errorf("begin a copy of process %d: %w", o.pid, err)
		}
		o.parked, begun = c, c
		return nil
	})
	if begun != nil {
		o.touch(begun)
	}
	return err
}

// begin makes of a copy what is the same in all.
func (o *Original) begin() (*copied, error) {
	c := &copied{Original: o, main: *o.threads[0]}
	if err := c.fork(); err != nil {
		return c, err
	}
	if err := c.main.register(c.main.id, c.memory, c.gadget, true); err != nil {
		return c, err
	}
	if err := unix.Setpgid(c.main.id, c.main.id); err != nil {
		return c, os.NewSyscallError("setpgid", err)
	}
	for _, e := range c.events {
		made, err := c.do(unix.SYS_EVENTFD2, e.count, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err == nil {
			err = c.move(made, e.descriptor)
		}
		if err != nil {
			return c, err
		}
	}
	return c, c.makeThreads()
}

// copied is a copy in the making.
type copied struct {
	*Original
	memory memory
	main   thread
	ids    []int // of its threads, in the order of the original's
}

// fork makes the copy with its main thread.
func (c *copied) fork() error {
	main := c.threads[0]
	_, pid, err := main.callTelling(c.gadget, unix.SYS_CLONE, unix.CLONE_PARENT|unix.CLONE_CHILD_SETTID|unix.CLONE_CHILD_CLEARTID|uint64(unix.SIGCHLD),
		0, 0, main.number, 0, c.secret)
	if pid != 0 {
		c.memory, c.main.id, c.ids = memory(pid), pid, []int{pid}
	}
	if setErr := unix.PtraceSetRegs(main.id, &main.regs); setErr != nil { // the secret is in them, where a list of processes shows it
		err = errors.Join(err, fmt.Errorf("write registers: %w", setErr))
	}
	if err == nil {
		_, err = await(pid)
	}
	return err
}

// destroy ends what there is of the copy. Its threads are waited for, as the main one does not end before who traces them has.
func (c *copied) destroy() {
	if len(c.ids) == 0 {
		return
	}
	_ = unix.Kill(c.ids[0], unix.SIGKILL) // it is there still, as nobody has waited for it
	for _, id := range append(slices.Clone(c.ids[1:]), c.ids[0]) {
		for {
			var status unix.WaitStatus
			_, err := unix.Wait4(id, &status, unix.WALL, nil)
			if err == nil && status.Stopped() || errors.Is(err, unix.EINTR) {
				continue // it dies all the same
			}
			break
		}
	}
}

// do has the copy's main thread make a system call.
func (c *copied) do(number uint64, arguments ...uint64) (uint64, error) {
	return c.main.call(c.gadget, number, arguments...)
}

// become gives it what is its own, and lets it go.
func (c *copied) become(plan Plan) error {
	if err := c.exchange(plan); err != nil {
		return err
	}
	if plan.DieWith > 0 {
		if err := c.dieWith(uint64(plan.DieWith)); err != nil {
			return err
		}
	}
	if room := int(c.name.end - c.name.begin); plan.Name != "" && len(plan.Name) <= room {
		if err := c.memory.write(c.name.begin, append([]byte(plan.Name), make([]byte, room-len(plan.Name))...)); err != nil {
			return err
		}
	}
	return c.release()
}

// exchange gives the copy its files.
func (c *copied) exchange(plan Plan) error {
	if len(plan.Files) >= maxFiles {
		return fmt.Errorf("%d files are too many", len(plan.Files))
	}
	if c.unsure {
		return errors.New("an earlier copy has not taken its files")
	}
	var descriptors []int
	var files []*os.File
	for descriptor, file := range plan.Files {
		descriptors, files = append(descriptors, descriptor), append(files, file)
	}
	if plan.Handover != nil {
		descriptors, files = append(descriptors, c.theirs), append(files, plan.Handover)
	}
	if len(files) > 0 {
		c.unsure = true // they wait in the socket
		got, err := c.hand(files)
		if err != nil {
			return err
		}
		c.unsure = false
		for i, descriptor := range descriptors { // which are all open in the original, so none of those that came is among them
			if err := c.move(got[i], descriptor); err != nil {
				return err
			}
		}
	}
	if plan.Handover != nil {
		return nil
	}
	_, err := c.do(unix.SYS_CLOSE, uint64(c.theirs))
	return err
}

func (c *copied) move(from uint64, to int) error {
	if _, err := c.do(unix.SYS_DUP3, from, uint64(to), unix.O_CLOEXEC); err != nil {
		return err
	}
	_, err := c.do(unix.SYS_CLOSE, from)
	return err
}

// hand passes files to the copy, and returns their descriptors there.
func (c *copied) hand(files []*os.File) ([]uint64, error) {
	rights := make([]int, len(files))
	for i, file := range files {
		connection, err := file.SyscallConn()
		if err != nil {
			return nil, err
		}
		if err := connection.Control(func(fd uintptr) { rights[i] = int(fd) }); err != nil {
			return nil, err
		}
	}
	if err := unix.Sendmsg(int(c.handover.Fd()), []byte{0}, unix.UnixRights(rights...), nil, 0); err != nil {
		return nil, os.NewSyscallError("sendmsg", err)
	}
	// struct msghdr, struct iovec, the byte, and the room for the descriptors.
	const iovecAt, byteAt, controlAt, header = 56, 72, 80, 16
	space := uint64(unix.CmsgSpace(4 * len(files)))
	at := c.main.scratch()
	message := make([]byte, controlAt+space)
	put := func(offset int, value uint64) { binary.LittleEndian.PutUint64(message[offset:], value) }
	put(16, at+iovecAt)
	put(24, 1)
	put(32, at+controlAt)
	put(40, space)
	put(iovecAt, at+byteAt)
	put(iovecAt+8, 1)
	if err := c.memory.write(at, message); err != nil {
		return nil, err
	}
	if _, err := c.do(unix.SYS_RECVMSG, uint64(c.theirs), at, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT); err != nil {
		return nil, err
	}
	if err := c.memory.read(at, message); err != nil {
		return nil, err
	}
	if length := binary.LittleEndian.Uint64(message[controlAt:]); length != uint64(unix.CmsgLen(4*len(files))) {
		return nil, errors.New("not all files have arrived")
	}
	got := make([]uint64, len(files))
	for i := range got {
		got[i] = uint64(binary.LittleEndian.Uint32(message[controlAt+header+4*i:]))
	}
	return got, nil
}

// dieWith has the kernel send SIGKILL when something happens to a pipe, and that can only be its end. It need not be a parent's death, as with PR_SET_PDEATHSIG.
func (c *copied) dieWith(descriptor uint64) error {
	const setSignal = 10 // F_SETSIG
	if _, err := c.do(unix.SYS_FCNTL, descriptor, unix.F_SETOWN, uint64(c.main.id)); err != nil {
		return err
	}
	if _, err := c.do(unix.SYS_FCNTL, descriptor, setSignal, uint64(unix.SIGKILL)); err != nil {
		return err
	}
	_, err := c.do(unix.SYS_FCNTL, descriptor, unix.F_SETFL, unix.O_ASYNC)
	return err
}

// makeThreads makes the copy's other threads, each standing where the original's does.
func (c *copied) makeThreads() error {
	for _, t := range c.threads[1:] {
		_, id, err := c.main.callTelling(c.gadget, unix.SYS_CLONE, cloneThread, t.regs.Rsp, t.number, t.number, t.regs.Fs_base)
		if id != 0 {
			c.ids = append(c.ids, id)
		}
		if err != nil {
			return err
		}
		if _, err := await(id); err != nil {
			return err
		}
		if err := t.register(id, c.memory, c.gadget, false); err != nil {
			return err
		}
		if err := t.write(id); err != nil {
			return err
		}
	}
	return nil
}

// release lets the copy go.
func (c *copied) release() error {
	if err := c.main.write(c.main.id); err != nil {
		return err
	}
	for _, id := range c.ids {
		if err := unix.PtraceDetach(id); err != nil {
			return fmt.Errorf("let thread %d go: %w", id, err)
		}
	}
	return nil
}
