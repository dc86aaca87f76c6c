package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/qmp"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/standby"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/template"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/rendezvous"
)

// A VM with emulated CPUs is forked from one of its shape that stands by, if there is one: that has all that a clone has, and QEMU's translation of all code that the guest has run. Which
// VMs stand by follows from what is started: the second start of a shape in short time has one made, beside it; see hold_linux.go.

// canFork says whether the VM may be forked. KVM's part of a VM is in the kernel, and belongs to one process.
func canFork(spec hypervisor.Spec, host machine.Host) bool {
	keep, err := machine.StandbyTime(spec.Options)
	return fork.Supported && err == nil && keep > 0 && canClone(spec, host) && host.Accelerator == machine.TCG && spec.Arch == "amd64"
}

func standbyOf(cacheDir string) standby.Place { return standby.At(filepath.Join(cacheDir, "standby")) }

// standbyKey names the shape of VM that this one can be forked from.
func (v *VM) standbyKey() (string, error) {
	around, err := rendezvous.Surroundings()
	if err != nil {
		return "", err
	}
	program, err := rendezvous.File("/proc/self/exe") // of the holder
	if err != nil {
		return "", err
	}
	around = append(around, program)
	return template.Key(append(machine.StandbyShape(v.spec, v.host), around...), v.files()...)
}

// errBinds says that a share is mounted where only a QEMU of its own can see it.
var errBinds = errors.New("a shared file is not where a copy could find it")

// fork returns no process, and no error, if no VM of the shape stands by.
func (v *VM) fork(ctx context.Context, key string) (*process, error) {
	place := standbyOf(v.spec.CacheDir)
	if !place.Ready(key) {
		return nil, nil
	}
	within, cancel := context.WithTimeout(ctx, forkDeadline)
	defer cancel()
	p, err := v.forked(within, key)
	switch {
	case errors.Is(err, standby.ErrNone), errors.Is(err, errBinds):
		return nil, nil
	case errors.Is(err, errUseless) && ctx.Err() == nil: // or every start would pay for it
		if p == nil || !p.primed { // otherwise it may be the image's fault
			place.Note(err)
		}
		err = errors.Join(err, gone(place.Remove(key)))
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// forkDeadline bounds all that it takes until a copy runs; measured 10 ms, and many may ask at once.
const forkDeadline = 10 * time.Second

// errUseless says that a copy was made and does not go on.
var errUseless = errors.New("the copy is of no use")

func (v *VM) forked(ctx context.Context, key string) (_ *process, err error) {
	for _, path := range ownSockets(v.spec) {
		if err := removeSocket(path); err != nil {
			return nil, err
		}
	}
	p := newProcess(birth{standby: &standbyFiles{}})
	o := &outfit{}
	defer o.close()
	defer func() {
		if err != nil {
			o.abandon()
		}
	}()
	if err := o.make(v.spec, p); err != nil {
		return nil, err
	}
	c, err := standbyOf(v.spec.CacheDir).Ask(ctx, key, v.spec.ID, o.files)
	if err != nil {
		return nil, err
	}
	p.copy, p.pid, p.kills, p.shape, p.primed = c, c.PID, c.Kill, key, c.Primed
	unfit := o.lockDisks(v.spec)
	if unfit == nil {
		unfit = c.Settle(o.files)
	}
	if o.console != nil {
		_, _ = o.console.file.Write(c.Console) // as what follows, if it cannot be written it is missing
		p.console = newConsole(o.console.file, o.console.from)
	}
	p.link(v.spec, v.uplink, v.server.Incoming)
	p.monitor = qmp.Attach(o.monitor, p.event)
	close(p.greeted)
	o.close()
	go o.watch(p)
	if unfit != nil {
		p.kill()
		p.wait()
		return nil, unfit
	}
	if err := p.goOnWith(ctx, v.spec, c.Sizes); err != nil {
		return p, fmt.Errorf("%w: %w", errUseless, p.failed("did not go on as a copy", err))
	}
	return p, nil
}

// outfit is what a copy has of its own, and our ends of it.
type outfit struct {
	files   standby.Files
	theirs  []*os.File // all of files
	monitor net.Conn
	stderr  *os.File
	life    *os.File
	console *struct {
		file *os.File
		from io.ReadCloser
	}
}

func (o *outfit) make(spec hypervisor.Spec, p *process) error {
	give := func(file *os.File) *os.File {
		o.theirs = append(o.theirs, file)
		return file
	}
	var end *os.File
	var err error
	if o.monitor, end, err = socketPair(); err != nil {
		return err
	}
	if o.files.Monitor, err = unblocked(give(end)); err != nil {
		return err
	}
	if end, err = listenFile(machine.MuxPath(spec)); err != nil {
		return err
	}
	if o.files.Mux, err = unblocked(give(end)); err != nil {
		return err
	}
	if o.stderr, end, err = os.Pipe(); err != nil {
		return err
	}
	if o.files.Stderr, err = blocking(give(end), true); err != nil {
		return err
	}
	if end, o.life, err = os.Pipe(); err != nil {
		return err
	}
	o.files.Life = give(end)
	if spec.ConsolePath != "" {
		file, err := openConsole(spec.ConsolePath)
		if err != nil {
			return err
		}
		from, end, err := socketPair()
		if err != nil {
			_ = file.Close()
			return err
		}
		o.console = &struct {
			file *os.File
			from io.ReadCloser
		}{file, from}
		if o.files.Console, err = unblocked(give(end)); err != nil {
			return err
		}
	}
	for i, disk := range spec.Disks {
		if disk.Lasting && disk.ReadOnly {
			o.files.Lasting = append(o.files.Lasting, standby.Lasting{Index: i, Serial: disk.Serial, FileSystem: disk.FileSystem})
			o.files.Reads = hints(disk.Reads)
		}
		if disk.Fresh && !disk.ReadOnly {
			o.files.Fresh = &standby.Fresh{Index: i, Serial: disk.Serial, FileSystem: disk.FileSystem}
		}
		mode := os.O_RDWR
		if disk.ReadOnly {
			mode = os.O_RDONLY
		}
		file, err := os.OpenFile(disk.File.Path, mode, 0)
		if err != nil {
			return err
		}
		o.files.Disks = append(o.files.Disks, give(file))
	}
	shares, binds, err := shared(spec)
	if err != nil {
		return err
	}
	if len(binds) > 0 {
		return errBinds
	}
	for _, share := range shares.Shares {
		dir, err := os.OpenFile(share.Path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		o.files.Shares = append(o.files.Shares, give(dir))
	}
	for _, nic := range spec.NICs {
		end, err := linkSocket(nic)
		if err != nil {
			return err
		}
		o.files.Links = append(o.files.Links, give(end))
	}
	return nil
}

// Bounds of what is passed on of hints.
const (
	maxHints = 32
	maxHint  = 255 // bytes
)

func hints(paths []string) (kept []string) {
	for _, path := range paths {
		if len(kept) < maxHints && len(path) <= maxHint {
			kept = append(kept, path)
		}
	}
	return kept
}

// lockDisks locks the copy's disks, which it has then and does not use yet. Not before: a holder that has not taken them would keep them locked.
func (o *outfit) lockDisks(spec hypervisor.Spec) error {
	for i, disk := range spec.Disks {
		if err := lockDisk(o.files.Disks[i], disk.ReadOnly); err != nil {
			return err
		}
	}
	return nil
}

// close closes what is the copy's. Idempotent.
func (o *outfit) close() {
	for _, file := range o.theirs {
		_ = file.Close()
	}
	o.theirs = nil
}

// abandon closes our ends, of a copy that was not made.
func (o *outfit) abandon() {
	if o.monitor != nil {
		_ = o.monitor.Close()
	}
	for _, file := range []*os.File{o.stderr, o.life} {
		if file != nil {
			_ = file.Close()
		}
	}
	if o.console != nil {
		_, _ = o.console.file.Close(), o.console.from.Close()
	}
}

// watch waits for the copy's end, as run does for a QEMU that was started.
func (o *outfit) watch(p *process) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		_, _ = io.Copy(&p.stderr, o.stderr)
	}()
	p.copy.Wait()
	<-said
	_, _ = o.stderr.Close(), o.life.Close()
	close(p.exited)
}

// unblocked sets a descriptor not to block: QEMU has set its own so, and a copy does not know that it has another. (*os.File).Fd would undo that.
func unblocked(file *os.File) (*os.File, error) { return blocking(file, false) }

func blocking(file *os.File, block bool) (*os.File, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetNonblock(int(fd), !block) }); err != nil {
		return nil, err
	}
	return file, failed
}

// linkSocket connects a card to its network, as QEMU does itself if it has the paths.
func linkSocket(nic hypervisor.NIC) (*os.File, error) {
	link := nic.Link.UnixDatagram
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "link")
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: link.VMPath}); err != nil {
		return nil, errors.Join(&os.PathError{Op: "bind", Path: link.VMPath, Err: err}, file.Close())
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: link.NetworkPath}); err != nil {
		return nil, errors.Join(&os.PathError{Op: "connect to", Path: link.NetworkPath, Err: err}, file.Close())
	}
	return file, nil
}

// Bytes of a disk's file that QEMU locks to tell other QEMUs what it does with it, and what it lets others do: block/file-posix.c. The locks are shared ones, so that each can see the other's.
const (
	lockDoing  = 100
	lockDenied = 200

	permissionWrite  = 1
	permissionResize = 3
)

// lockDisk takes the locks that QEMU takes of a disk that it opens. They belong to the open file, and so go with it to the copy.
func lockDisk(file *os.File, readOnly bool) error {
	take := []int64{lockDoing, lockDenied + permissionWrite, lockDenied + permissionResize} // reads, and wants nobody else to write or resize
	look := []int64{lockDenied, lockDoing + permissionWrite, lockDoing + permissionResize}
	if !readOnly {
		take, look = append(take, lockDoing+permissionWrite), append(look, lockDenied+permissionWrite)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for _, at := range take {
			lock := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
			if failed = unix.FcntlFlock(fd, unix.F_OFD_SETLK, &lock); failed != nil {
				return
			}
		}
		for _, at := range look {
			lock := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
			if failed = unix.FcntlFlock(fd, unix.F_OFD_GETLK, &lock); failed != nil {
				return
			}
			if lock.Type != unix.F_UNLCK {
				failed = &os.PathError{Op: "use disk", Path: file.Name(), Err: errors.New("another VM uses it")}
				return
			}
		}
	})
	return errors.Join(err, failed)
}

// failurePause is how long none is made to stand by after one could not: where the system forbids what it takes, every start would try it for nothing.
const failurePause = time.Hour

// standsBy has a VM made that stands by for those like this one, unless there is one. Its holder is started here, waits a moment, so that this start has the CPUs, and lives on when this process ends.
func (v *VM) standsBy(key string) {
	if err := v.holdBeside(key); err != nil {
		v.log.Warn("no VM can stand by to be forked", "error", err)
	}
}

func (v *VM) holdBeside(key string) error {
	place := standbyOf(v.spec.CacheDir)
	if !enoughFor(v.spec.MemoryBytes) || place.FailedWithin(failurePause) {
		return nil
	}
	slot, err := place.Claim(key)
	if slot == nil {
		return err
	}
	defer func() { _ = slot.Close() }()
	h := held{Spec: v.spec, Binary: v.binary, Host: v.host, Key: key}
	for _, disk := range v.spec.Disks {
		info, err := os.Stat(disk.File.Path)
		if err != nil {
			return err
		}
		h.Sizes = append(h.Sizes, info.Size())
	}
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	reading, writing, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, HoldArgument, key)
	cmd.Stdin, cmd.ExtraFiles, cmd.Dir, cmd.Env = reading, []*os.File{slot}, "/", []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = reading.Close() // or it would be written to for ever if nobody reads
	if err != nil {
		_ = writing.Close()
		return err
	}
	go func() { _ = cmd.Wait() }() // while this process is there
	_, err = writing.Write(text)
	return errors.Join(err, writing.Close())
}
