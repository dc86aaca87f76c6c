package standby

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
	"github.com/vzctl/vzctl/sdk/rendezvous"
)

// A VM that stands by can be copied for any image. Once the same image is asked for again, a copy is primed with it: its guest has the image's disks mounted and has read what is read first, and then it is copied in
// place of the original for all who ask with the same disks. It takes only the memory that it has of its own. See layer_linux.go for what follows.

const (
	// primeAfter is how many copies of one image are made before a VM is primed with it.
	primeAfter = 2
	// primeQuiet is how long nobody may have asked before: who starts a container has more use for the CPUs.
	primeQuiet = time.Second
	// primeLatest is after how long it is done all the same.
	primeLatest = 3 * time.Second
	// maxPrimed is how many images a holder has VMs primed with.
	maxPrimed = 2
	// maxImages is how many images it counts the copies of.
	maxImages = 16
	// primedRest is how long a VM that is primed has not been copied before it gives way to another.
	primedRest = time.Minute
)

// Primed is a copy that stands by in turn.
type Primed struct {
	Original *fork.Original
	// Ended returns when its process has.
	Ended func()
}

// image is a set of disks that copies were asked for with.
type image struct {
	key     string
	asked   int
	used    time.Time
	lasting []Lasting
	reads   []string
	disks   []*os.File // held while a VM is, or is to be, primed with them; in the order of lasting
	unwatch func()     // with disks
	layer   *Layer     // that the one who asked had; nil: none, or none that can be mounted before
	primed  *Primed
	mounted *Mounted // of primed and layer; nil: none
	failed  bool
}

// imageKey tells the disks of a request from others; "" if it has none that last.
func imageKey(a asking, d Descriptors) (string, []*os.File) {
	var key strings.Builder
	var files []*os.File
	for _, l := range a.request.Lasting {
		if l.Index < 0 || l.Index >= len(d.Disks) {
			return "", nil
		}
		file := a.disk(d, l.Index)
		info, err := file.Stat()
		if err != nil {
			return "", nil
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !info.Mode().IsRegular() {
			return "", nil
		}
		fmt.Fprintln(&key, l.Index, l.Serial, l.FileSystem, stat.Dev, stat.Ino, stat.Size, stat.Mtim)
		files = append(files, file)
	}
	return key.String(), files
}

// primer knows which images are asked for. It belongs to one goroutine, but for prime's own.
type primer struct {
	holder *Holder
	images []*image
	wanted *image    // to be primed when it is quiet
	since  time.Time // wanted
	quiet  *time.Timer
	done   chan primeResult
	gone   chan *image // images whose files were removed
	busy   bool
}

type primeResult struct {
	image   *image
	primed  *Primed
	mounted *Mounted
	err     error
	again   bool // it was primed before
	ended   bool // the holder has, meanwhile
}

func newPrimer(h *Holder) *primer {
	p := &primer{holder: h, quiet: time.NewTimer(primeQuiet), done: make(chan primeResult, 1), gone: make(chan *image, maxImages)}
	p.quiet.Stop()
	return p
}

// original returns what is copied for one who asks, and what that one has to change of its layer then; nil: nothing. That is the primer's.
func (p *primer) original(ctx context.Context, a asking) (*fork.Original, *os.File) {
	if p.wanted != nil && time.Since(p.since) < primeLatest-primeQuiet {
		p.quiet.Reset(primeQuiet)
	}
	key, files := imageKey(a, p.holder.Descriptors)
	if key == "" || p.holder.Prime == nil {
		return p.holder.Original, nil
	}
	m := p.image(key)
	m.asked, m.used = m.asked+1, time.Now()
	if m.primed != nil {
		if m.layer == nil && p.wanted == nil && !p.busy { // who asked when it was primed had none, or one of its own
			if m.layer = layerOf(a, p.holder.Descriptors, p.holder.Sizes); m.layer != nil {
				p.want(m)
			}
		}
		return p.best(m, a)
	}
	if m.asked >= primeAfter && !m.failed && p.wanted == nil && !p.busy && p.room() {
		m.lasting, m.reads, m.layer = a.request.Lasting, a.request.Reads, layerOf(a, p.holder.Descriptors, p.holder.Sizes)
		if err := m.hold(ctx, files, p.gone); err != nil {
			m.failed = true
			p.holder.Place.NotePriming(p.holder.Key, err)
		} else {
			p.want(m)
		}
	}
	return p.holder.Original, nil
}

// want has something done for an image when it is quiet.
func (p *primer) want(m *image) {
	p.wanted, p.since = m, time.Now()
	p.quiet.Reset(primeQuiet)
}

// best returns the one that has most of what somebody asks for, and what has to be changed of the layer for it, or nil.
func (p *primer) best(m *image, a asking) (*fork.Original, *os.File) {
	if m.mounted == nil || a.request.Fresh == nil || a.request.Fresh.Index != m.mounted.layer.Index {
		return m.primed.Original, nil
	}
	if !m.mounted.fits(a.request.Fresh, a.disk(p.holder.Descriptors, m.mounted.layer.Index)) {
		return m.primed.Original, nil
	}
	return m.mounted.Original, m.mounted.change
}

// has says whether copies can be made of it.
func (p *primer) has(original *fork.Original) bool {
	return original == p.holder.Original || slices.ContainsFunc(p.images, func(m *image) bool { return m.has(original) })
}

func (m *image) has(original *fork.Original) bool {
	return m.primed != nil && m.primed.Original == original || m.mounted != nil && m.mounted.Original == original
}

// image finds one, or begins to count.
func (p *primer) image(key string) *image {
	for _, m := range p.images {
		if m.key == key {
			return m
		}
	}
	m := &image{key: key}
	if len(p.images) >= maxImages {
		unheld := func(m *image) bool { return m.disks == nil && !m.failed }
		if p.oldest(unheld) == nil {
			unheld = func(m *image) bool { return m.disks == nil }
		}
		p.forget(p.oldest(unheld))
	}
	p.images = append(p.images, m)
	return m
}

func (p *primer) oldest(of func(*image) bool) (oldest *image) {
	for _, m := range p.images {
		if of(m) && (oldest == nil || m.used.Before(oldest.used)) {
			oldest = m
		}
	}
	return oldest
}

// hold keeps the disks open, so that nothing else can be taken for them, and watches for their removal.
func (m *image) hold(ctx context.Context, files []*os.File, gone chan<- *image) error {
	ctx, m.unwatch = context.WithCancel(ctx)
	for _, file := range files {
		disk, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", file.Fd())) // opened again: that file's locks are its VM's
		if err != nil {
			m.drop()
			return err
		}
		m.disks = append(m.disks, disk)
	}
	for _, disk := range m.disks {
		removed, err := awaitUnlink(ctx, disk)
		if err != nil {
			m.drop()
			return err
		}
		go func() {
			select {
			case <-removed:
				gone <- m
			case <-ctx.Done():
			}
		}()
	}
	return nil
}

// count is of the images that VMs are primed with.
func (p *primer) count() (n int) {
	for _, m := range p.images {
		if m.primed != nil {
			n++
		}
	}
	return n
}

// tell says it to people.
func (p *primer) tell() {
	_ = p.holder.announce(p.holder.since, p.count()) // who removes the directory ends all
}

// room says whether one more may be primed: one that rests gives way to it.
func (p *primer) room() bool {
	return p.count() < maxPrimed || p.oldest(func(m *image) bool { return m.primed != nil && time.Since(m.used) > primedRest }) != nil
}

// fail lets go of a VM of which no copy could be made.
func (p *primer) fail(original *fork.Original, err error) {
	for _, m := range p.images {
		if m.has(original) {
			m.failed = true
			m.drop()
			p.tell()
			p.holder.Place.NotePriming(p.holder.Key, err)
			return
		}
	}
}

// drop lets go of the disks, and of the VM, if one is primed with them.
func (m *image) drop() {
	if m.unwatch != nil {
		m.unwatch()
	}
	rendezvous.CloseAll(m.disks)
	m.disks, m.unwatch, m.layer = nil, nil, nil
	release(m.primed, m.mounted)
	m.primed, m.mounted = nil, nil
}

// release ends those of the two that there are.
func release(primed *Primed, mounted *Mounted) {
	if mounted != nil {
		mounted.Original.Release()
		_ = mounted.change.Close() // nothing is written to it any more
		go mounted.Ended()
	}
	if primed != nil {
		primed.Original.Release()
		go primed.Ended()
	}
}

func (p *primer) forget(m *image) {
	for i, known := range p.images {
		if known == m && m != nil {
			was := m.primed != nil
			m.drop()
			p.images = append(p.images[:i], p.images[i+1:]...)
			if was {
				p.tell()
			}
			return
		}
	}
}

// begin has a VM primed beside all else; what has come of it is in done.
func (p *primer) begin(ctx context.Context) {
	m := p.wanted
	p.wanted = nil
	if m == nil || m.disks == nil {
		return
	}
	p.busy = true
	files, layer := append([]*os.File(nil), m.disks...), m.layer
	result := primeResult{image: m, primed: m.primed, again: m.primed != nil}
	go func() {
		if !result.again {
			result.primed, result.err = p.holder.Prime(ctx, m.lasting, files, m.reads)
		}
		if result.err == nil && layer != nil {
			var err error
			if result.mounted, err = p.holder.Mount(ctx, result.primed, m.lasting, files, layer); err != nil && ctx.Err() == nil {
				p.holder.Place.NotePriming(p.holder.Key, err) // the guest mounts what it has to, as ever
			}
		}
		result.ended = ctx.Err() != nil
		p.done <- result
	}()
}

// end takes what has come of it.
func (p *primer) end(r primeResult) {
	p.busy = false
	switch {
	case r.err != nil && (r.ended || r.image.disks == nil): // which is why
		r.image.drop()
	case r.err != nil:
		r.image.failed = true
		r.image.drop()
		p.holder.Place.NotePriming(p.holder.Key, r.err)
	case r.image.disks == nil && r.again:
		release(nil, r.mounted)
	case r.image.disks == nil: // removed meanwhile
		release(r.primed, r.mounted)
	case r.again:
		r.image.mounted = r.mounted
	default:
		if p.count() >= maxPrimed {
			p.forget(p.oldest(func(m *image) bool { return m.primed != nil }))
		}
		r.image.primed, r.image.mounted = r.primed, r.mounted
		p.tell()
	}
}

// close ends all that are primed, also one that is about to be.
func (p *primer) close() {
	p.quiet.Stop()
	if p.busy {
		p.end(<-p.done)
	}
	for _, m := range p.images {
		m.drop()
	}
}

// awaitUnlink returns a channel that is closed when a file has no name any more.
func awaitUnlink(ctx context.Context, disk *os.File) (<-chan struct{}, error) {
	own, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", disk.Fd())) // the caller closes its
	if err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("inotify_init1", err), own.Close())
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", own.Fd()), unix.IN_ATTRIB); err != nil {
		return nil, errors.Join(os.NewSyscallError("inotify_add_watch", err), events.Close(), own.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = events.Close() })
	removed := make(chan struct{})
	go func() {
		defer func() { _, _, _ = stop(), events.Close(), own.Close() }()
		buffer := make([]byte, 4<<10)
		for {
			var stat unix.Stat_t // at first, too: it may have come before it was watched
			if unix.Fstat(int(own.Fd()), &stat) == nil && stat.Nlink == 0 {
				close(removed)
				return
			}
			if _, err := events.Read(buffer); err != nil {
				return
			}
		}
	}()
	return removed, nil
}
