// Package procfs reads what the kernel says of processes, as a container sees them: by the ids that they have in its pid namespace, and the names of users that
// its own passwd gives. Names, arguments and passwd are the container's to choose; nothing here takes their word for more than text.
package procfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one.
type Process struct {
	Pid, Parent int // in its own pid namespace; 0: none there
	UID         uint32
	State       string        // the kernel's letter
	CPU         time.Duration // spent
	Started     time.Duration // since the start of the machine
	Resident    uint64        // bytes of memory
	Terminal    string        // "pts/0"; empty: none
	Command     string
}

// maxCommand is how much of the arguments is told, in bytes.
const maxCommand = 4 << 10

// Read reads of those processes what is to be told; ids are the machine's own. One that has ended is left out.
func Read(proc string, pids []int) ([]Process, error) {
	found := make([]Process, 0, len(pids))
	inside := map[int]int{} // ids in the container, by the machine's
	parents := make([]int, 0, len(pids))
	for _, pid := range pids {
		p, parent, err := read(filepath.Join(proc, strconv.Itoa(pid)))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		inside[pid] = p.Pid
		found, parents = append(found, p), append(parents, parent)
	}
	for i := range found {
		found[i].Parent = inside[parents[i]]
	}
	return found, nil
}

// read returns the parent's id as the machine's.
func read(dir string) (p Process, parent int, err error) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, 0, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, 0, err
	}
	name, parent := p.readStat(string(stat))
	p.readStatus(string(status))
	p.Command, err = command(filepath.Join(dir, "cmdline"))
	if p.Command == "" {
		p.Command = "[" + clean([]byte(name)) + "]"
	}
	return p, parent, err
}

// The kernel tells times in ticks of a hundredth of a second, on all architectures we run on, and memory in pages.
const tick = 10 * time.Millisecond

var page = uint64(os.Getpagesize())

// readStat reads proc(5)'s stat: an id, the name in parentheses, which may have any in it, and numbers.
func (p *Process) readStat(text string) (name string, parent int) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return "", 0
	}
	fields := append(strings.Fields(text[end+1:]), make([]string, 22)...)
	number := func(i int) uint64 {
		n, _ := strconv.ParseUint(fields[i], 10, 64) // written by the kernel
		return n
	}
	p.State = fields[0]
	p.CPU = time.Duration(number(11)+number(12)) * tick
	p.Started = time.Duration(number(19)) * tick
	p.Resident = number(21) * page
	p.Terminal = terminal(number(4))
	return text[open+1 : end], int(number(1))
}

// terminal names a device as the kernel numbers it, if it is one of those that containers have.
func terminal(number uint64) string {
	const first, last, each = 136, 143, 256 // majors of pseudo terminals
	major, minor := number>>8&0xfff, number&0xff|number>>12&0xfff00
	if major < first || major > last {
		return ""
	}
	return "pts/" + strconv.FormatUint((major-first)*each+minor, 10)
}

func (p *Process) readStatus(text string) {
	for line := range strings.Lines(text) {
		key, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		switch {
		case key == "Uid" && len(fields) > 1:
			uid, _ := strconv.ParseUint(fields[1], 10, 32) // the effective one
			p.UID = uint32(uid)
		case key == "NSpid" && len(fields) > 1: // the first is the machine's own
			p.Pid, _ = strconv.Atoi(fields[len(fields)-1])
		}
	}
}

func command(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCommand))
	if errors.Is(err, unix.ESRCH) {
		text, err = nil, nil
	}
	text = bytes.TrimRight(text, "\x00")
	return clean(bytes.ReplaceAll(text, []byte{0}, []byte{' '})), errors.Join(err, f.Close())
}

func clean(text []byte) string { return string(bytes.ToValidUTF8(text, []byte{'?'})) }

const (
	maxPasswd = 1 << 20 // bytes that are read
	maxName   = 64
)

// Users returns the names that a container's passwd has for ids; root is its root directory. Without a passwd that can be read there are none.
func Users(root string) map[uint32]string {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(dir) }()
	// Not through mounts: one could be of a file system whose answers the container gives.
	fd, err := unix.Openat2(dir, "etc/passwd", &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV})
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "passwd")
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPasswd))
	if err != nil {
		return nil
	}
	return names(string(text))
}

// names are the first that each id has.
func names(passwd string) map[uint32]string {
	found := map[uint32]string{}
	for line := range strings.Lines(passwd) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 4)
		if len(fields) < 4 || fields[0] == "" || len(fields[0]) > maxName {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if _, known := found[uint32(uid)]; err == nil && !known {
			found[uint32(uid)] = clean([]byte(fields[0]))
		}
	}
	return found
}
