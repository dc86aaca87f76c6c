package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	contents "github.com/vzctl/vzctl/plugins/qemu-hypervisor/placeholder"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/standby"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// HoldArgument makes the plugin's program the holder of a VM that stands by. What it holds is on standard input; descriptor 3 is its right to.
const HoldArgument = "hold-vm"

const (
	slotDescriptor = 3
	// holdDelay lets the start that asked for it be done, which is more urgent.
	holdDelay = 2 * time.Second
	// holdDeadline bounds the boot and the rehearsal of a VM that is to stand by.
	holdDeadline = 2 * time.Minute
)

// held is what a holder is told.
type held struct {
	Spec   hypervisor.Spec
	Binary string
	Host   machine.Host
	Key    string
	Sizes  []int64 // of the disks, in bytes
}

// standbyFiles are what QEMU inherits to be forked.
type standbyFiles struct {
	handover, life *os.File
	links, peers   []*os.File

	handoverDescriptor, lifeDescriptor int
	linkDescriptors                    []int
}

// give returns the descriptors of the cards.
func (s *standbyFiles) give(give func(*os.File) int) map[int]int {
	s.handoverDescriptor, s.lifeDescriptor = give(s.handover), give(s.life)
	links := map[int]int{}
	for i, file := range s.links {
		links[i] = give(file)
		s.linkDescriptors = append(s.linkDescriptors, links[i])
	}
	return links
}

// Hold is what the holder does. It returns its exit code.
func Hold() int {
	slot := os.NewFile(slotDescriptor, "slot")
	// What was inherited is not QEMU's: copies would share it.
	if err := unix.CloseRange(slotDescriptor, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 2
	}
	var h held
	if err := json.NewDecoder(bufio.NewReader(os.Stdin)).Decode(&h); err != nil {
		return 2 // who has started it has ended meanwhile
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	place := standbyOf(h.Spec.CacheDir)
	dir := place.Dir(h.Key)
	select {
	case <-time.After(holdDelay):
	case <-ctx.Done():
		return 0
	}
	err := h.hold(ctx, dir, slot)
	if err == nil {
		return 0
	}
	if _, missing := os.Lstat(filepath.Dir(dir)); ctx.Err() == nil && missing == nil {
		place.Note(err)
	}
	return 1
}

// hold makes the VM, and copies of it for who asks.
func (h *held) hold(ctx context.Context, dir string, slot *os.File) (err error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0) // without it, nobody could wait for what is traced
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	_ = unix.Close(fd)
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	keep, err := machine.StandbyTime(h.Spec.Options)
	if err != nil {
		return err
	}
	place := standbyOf(h.Spec.CacheDir)
	if err := os.RemoveAll(dir); err != nil { // of an earlier holder, who is gone: we have the slot
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	server := &standby.Holder{Place: place, Key: h.Key, Keep: keep, Description: machine.Description(h.Spec, h.Host) + ", stands by to be forked", Failed: place.Note}
	p, err := h.boot(ctx, dir, server)
	if err != nil {
		return err
	}
	server.Prime = func(ctx context.Context, lasting []standby.Lasting, disks []*os.File, reads []string) (*standby.Primed, error) {
		return h.prime(ctx, server, lasting, disks, reads)
	}
	server.Mount = func(ctx context.Context, of *standby.Primed, lasting []standby.Lasting, disks []*os.File, layer *standby.Layer) (*standby.Mounted, error) {
		return h.mount(ctx, server, of, lasting, disks, layer)
	}
	return server.Serve(ctx, func() {
		p.wait()
		_ = os.RemoveAll(dir)
		_ = slot.Close() // while the copies live, another may stand by, in the same directory
	})
}

// boot starts the VM, and has it stand by.
func (h *held) boot(ctx context.Context, dir string, server *standby.Holder) (_ *process, err error) {
	ctx, cancel := context.WithTimeout(ctx, holdDeadline)
	defer cancel()
	// QEMU would have huge pages, of which a guest that does little uses little, and a copy would have to copy what it writes to all the same. Children inherit this.
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	spec := machine.Standby(h.Spec, dir)
	short, err := os.Open(dir) // paths of sockets have to be short, and this one may be long
	if err != nil {
		return nil, err
	}
	defer func() { _ = short.Close() }()
	spec.RuntimeDir = fmt.Sprintf("/proc/self/fd/%d", short.Fd())
	for i, disk := range spec.Disks {
		size := int64(machine.PlaceholderSize)
		if !disk.ReadOnly {
			size = min(size, h.Sizes[i])
		}
		if err := placeholder(disk.File.Path, size); err != nil {
			return nil, err
		}
		if size, err = rehearsed(ctx, disk, spec.Arch); err != nil {
			return nil, err
		}
		server.Sizes = append(server.Sizes, size)
	}
	for _, share := range spec.Shares {
		if err := os.Mkdir(share.Path, 0o700); err != nil {
			return nil, err
		}
	}
	ours, theirs, err := handoverSockets()
	if err != nil {
		return nil, err
	}
	files := &standbyFiles{handover: theirs}
	defer files.close()
	life, writing, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	defer func() { _ = writing.Close() }()
	files.life = life
	for range spec.NICs {
		peer, end, err := handoverSockets()
		if err != nil {
			return nil, errors.Join(err, ours.Close())
		}
		// The peer is kept until QEMU stands still: it would note for good that a link has ended.
		files.links, files.peers = append(files.links, end), append(files.peers, peer)
	}
	p, monitor, err := spawn(spec, h.Binary, h.Host, birth{named: true, standby: files})
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	if err := p.greet(ctx, monitor); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	if err = p.rest(ctx); err == nil {
		server.Descriptors, err = descriptors(p, spec, files)
	}
	if err == nil {
		server.Original, err = fork.Take(p.pid, server.Descriptors.All(), files.handoverDescriptor, ours)
		ours = nil
	}
	if err != nil {
		if ours != nil {
			_ = ours.Close()
		}
		p.kill()
		err = fmt.Errorf("%w (%s)", err, p.wait().Message)
		if p.console != nil {
			err = fmt.Errorf("%w; the guest said: %s", err, strings.Join(p.console.tail.lines(4), " / "))
		}
		return nil, err
	}
	if p.console != nil {
		if server.Console, err = os.ReadFile(spec.ConsolePath); err != nil || len(server.Console) > tailLength {
			server.Console = nil // it is for people
		}
	}
	for _, disk := range spec.Disks { // QEMU has them
		_ = os.Remove(disk.File.Path)
	}
	return p, nil
}

// rehearsed writes to a placeholder what the guest rehearses with, and returns its size, in bytes.
func rehearsed(ctx context.Context, disk hypervisor.Disk, arch string) (size int64, err error) {
	file, err := os.OpenFile(disk.File.Path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	err = contents.Write(ctx, file, arch, disk.ReadOnly)
	info, statErr := file.Stat()
	if err = errors.Join(err, statErr, file.Close()); err != nil {
		return 0, fmt.Errorf("write what the guest rehearses with: %w", err)
	}
	return info.Size(), nil
}

func (s *standbyFiles) close() {
	for _, file := range append(slices.Concat(s.links, s.peers), s.handover, s.life) {
		if file != nil {
			_ = file.Close()
		}
	}
}

// awaitExit returns when a child has ended, which is not waited for yet. Waiting itself would also take what its tracer waits for.
func awaitExit(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// handoverSockets returns two connected sockets for packets. They do not block.
func handoverSockets() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "socketpair"), os.NewFile(uintptr(fds[1]), "socketpair"), nil
}

// Descriptors that every QEMU here has; see spawn.
const (
	stderrDescriptor  = 2
	monitorDescriptor = firstDescriptor
	muxDescriptor     = firstDescriptor + 1
)

// descriptors finds those by which QEMU has what a copy has of its own.
func descriptors(p *process, spec hypervisor.Spec, files *standbyFiles) (d standby.Descriptors, err error) {
	d = standby.Descriptors{Monitor: monitorDescriptor, Mux: muxDescriptor, Stderr: stderrDescriptor, Life: files.lifeDescriptor, Console: -1, Links: files.linkDescriptors}
	if p.console != nil {
		d.Console = files.lifeDescriptor + len(files.links) + 1
	}
	for _, disk := range spec.Disks {
		if err := appendDescriptor(&d.Disks, p.pid, disk.File.Path); err != nil {
			return d, err
		}
	}
	for _, share := range spec.Shares {
		if err := appendDescriptor(&d.Shares, p.pid, share.Path); err != nil {
			return d, err
		}
	}
	return d, nil
}

// appendDescriptor appends the one by which QEMU has a file or directory.
func appendDescriptor(to *[]int, pid int, path string) error {
	file, err := os.Stat(path)
	if err != nil {
		return err
	}
	dir := descriptorsOf(pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var found []int
	for _, e := range entries {
		number, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && os.SameFile(info, file) {
			found = append(found, number)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("QEMU has %s by %d descriptors", filepath.Base(path), len(found))
	}
	*to = append(*to, found[0])
	return nil
}

// enoughFor says whether the host has memory to spare for one more VM: it may take all of its own, and half of what is left is for others.
func enoughFor(memory uint64) bool {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "MemAvailable:"); found {
			kibibytes, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return err == nil && kibibytes<<10 > 2*memory
		}
	}
	return false
}
