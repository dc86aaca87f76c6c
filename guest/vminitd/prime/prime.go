// Package prime reads what programs of an image will read first, into the kernel's memory, in a machine that others are copied from: none of the copies needs to. Which files that are, it finds by
// names and by what is in the files. All that the image says is taken for a hint. Package cage runs what was read.
package prime

import (
	"bytes"
	"io"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What one image may have read, in bytes and files. A program is rarely larger; of one that is, the beginning is as good as any part.
const (
	maxFile  = 4 << 20
	maxFiles = 64
	// MaxTotal is what may be read of all.
	MaxTotal = 16 << 20
)

// common are read by most programs, or looked for.
var common = []string{"/bin/sh", "/etc/ld.so.preload", "/etc/ld.so.cache", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"}

// libraries are the directories where dynamic linkers look.
func libraries() []string {
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	return []string{"/lib/" + triplet, "/usr/lib/" + triplet, "/lib64", "/usr/lib64", "/lib", "/usr/lib"}
}

// Read reads below root, where an image is mounted, the files and what they need to run: interpreters, and the libraries that these load; most bytes at most, and at most MaxTotal. It returns how many bytes that were. What cannot be
// read is left out.
func Read(root string, files []string, most int64) (total int64) {
	dir, err := os.Open(root)
	if err != nil {
		return 0
	}
	defer func() { _ = dir.Close() }()
	r := reader{root: dir, known: map[string]bool{}, buffer: make([]byte, 256<<10), most: min(most, MaxTotal)}
	for _, name := range append(append([]string(nil), files...), common...) {
		r.add(name)
	}
	for len(r.todo) > 0 {
		next := r.todo[0]
		r.todo = r.todo[1:]
		r.read(next)
	}
	return r.total
}

// First returns the first of some paths below root that is a file's that may be executed, or else "".
func First(root string, files []string) string {
	dir, err := os.Open(root)
	if err != nil {
		return ""
	}
	defer func() { _ = dir.Close() }()
	r := reader{root: dir}
	for _, name := range files {
		file, err := r.open(name)
		if err != nil {
			continue
		}
		info, err := file.Stat()
		_ = file.Close() // nothing was written
		if err == nil && info.Mode()&0o111 != 0 {
			return name
		}
	}
	return ""
}

type reader struct {
	root   *os.File
	todo   []string
	known  map[string]bool
	total  int64
	most   int64
	buffer []byte
}

// add notes a path to be read, once.
func (r *reader) add(name string) {
	name = path.Join("/", name)
	if r.known[name] || len(r.known) >= maxFiles {
		return
	}
	r.known[name] = true
	r.todo = append(r.todo, name)
}

// read reads one file, and adds what it needs. It reports whether there is one.
func (r *reader) read(name string) {
	file, err := r.open(name)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(file, min(maxFile, r.most-r.total))}, r.buffer)
	r.total += n
	start := make([]byte, 256)
	got, _ := file.ReadAt(start, 0)
	if script, found := bytes.CutPrefix(start[:got], []byte("#!")); found {
		line, _, _ := bytes.Cut(script, []byte("\n"))
		if words := strings.Fields(string(line)); len(words) > 0 {
			r.add(words[0])
		}
		return
	}
	interpreter, needed := needs(file)
	if interpreter != "" {
		r.add(interpreter)
	}
	for _, library := range needed {
		for _, dir := range libraries() {
			if r.exists(path.Join(dir, library)) {
				r.add(path.Join(dir, library))
				break
			}
		}
	}
}

// open opens a regular file below the root, as a process would see it whose root that is.
func (r *reader) open(name string) (*os.File, error) {
	fd, err := unix.Openat2(int(r.root.Fd()), name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG { // to open a device already does something
		return nil, os.ErrInvalid
	}
	return os.Open("/proc/self/fd/" + strconv.Itoa(fd))
}

func (r *reader) exists(name string) bool {
	file, err := r.open(name)
	if err == nil {
		_ = file.Close() // nothing was written
	}
	return err == nil
}
