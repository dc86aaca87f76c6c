package archive

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vzctl/vzctl/guest/idmap"
)

// ExtractOptions of Extract.
type ExtractOptions struct {
	// Rename is the name of the tar's one top entry instead of its own; empty: entries keep their names.
	Rename string
	// Owners are those of the tar, and set-user-id and set-group-id bits stay; otherwise files are whose who extracts them, without such bits.
	Owners bool
	// IDs are the maps of a user namespace that the files are shown with; the tar has what they are in it, and who extracts makes files as its root. Nil: as they are.
	IDs *idmap.Maps
	// Specials, which are devices and FIFOs, are made; otherwise they are left out.
	Specials bool
	// Xattr chooses extended attributes.
	Xattr func(name string) bool
	// Warn is told what was left out; nil: nobody is.
	Warn func(string)
}

// temporary begins the names of files that are not whole yet.
const temporary = ".vzctl-"

// Extract writes what is in a tar below root. A file gets its name when it is whole, in place of the one that had it; a directory that is there stays, with its own owner
// and mode. Nothing is written outside of root, whatever the tar says and whatever links are there.
func Extract(ctx context.Context, root *os.Root, from io.Reader, options ExtractOptions) (err error) {
	x := &extraction{ctx: ctx, root: root, options: options, made: map[string]bool{}, parentName: ".", buffer: make([]byte, 128<<10)}
	defer func() { err = errors.Join(err, x.leave()) }()
	t := tar.NewReader(from)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := x.entry(h, t); err != nil {
			return fmt.Errorf("extract %.200q: %w", h.Name, err)
		}
	}
}

type extraction struct {
	ctx     context.Context
	root    *os.Root
	options ExtractOptions
	made    map[string]bool // files, which hard links may lead to
	dirs    []madeDir       // which get what they are to be in the end: until then things go into them

	parent     *os.Root // of the last entry; nil: root
	parentName string
	top        string // the first entry's, with Rename
	kept       int    // bytes of dirs and made
	buffer     []byte
}

type madeDir struct {
	name   string
	header *tar.Header
	info   fs.FileInfo // by which it is known again
}

// maxKept bounds what is kept of names and attributes, in bytes: who sends a tar may go on for ever.
const maxKept = 256 << 20

func (x *extraction) keep(bytes int) error {
	if x.kept += bytes; x.kept > maxKept {
		return errors.New("the tar has more names and attributes than can be kept in memory")
	}
	return nil
}

// place is where an entry goes, below root.
func (x *extraction) place(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", errors.New("there is a zero byte in its name")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New("its name leads upwards")
		}
	}
	clean := path.Clean("/" + name)[1:]
	if clean == "" {
		clean = "."
	}
	if x.options.Rename == "" {
		return clean, nil
	}
	first, rest, _ := strings.Cut(clean, "/")
	if x.top == "" {
		x.top = first
	}
	if first != x.top || first == "." {
		return "", fmt.Errorf("the tar has more than one file or directory, %q and this", x.top)
	}
	return path.Join(x.options.Rename, rest), nil
}

func (x *extraction) entry(h *tar.Header, content io.Reader) error {
	name, err := x.place(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errors.New("it has no name")
		}
		return nil // the directory that all goes into is the user's
	}
	if err := x.enter(path.Dir(name)); err != nil {
		return err
	}
	base := path.Base(name)
	switch h.Typeflag {
	case tar.TypeDir:
		return x.directory(h, name, base)
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse:
		return x.replace(h, name, base, func(temporary string) error { return x.file(h, temporary, content) })
	case tar.TypeSymlink:
		return x.replace(h, name, base, func(temporary string) error {
			if err := x.parent.Symlink(h.Linkname, temporary); err != nil {
				return err
			}
			return x.settleNode(temporary, h)
		})
	case tar.TypeLink:
		return x.hardLink(h, name, base)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		if !x.options.Specials {
			x.warn("%.200q was left out: it is a device or a FIFO", h.Name)
			return nil
		}
		return x.replace(h, name, base, func(temporary string) error {
			if err := makeSpecial(x.parent, temporary, h.Typeflag, uint32(h.Devmajor), uint32(h.Devminor)); err != nil {
				return err
			}
			return x.settleNode(temporary, h)
		})
	}
	return fmt.Errorf("entries of type %q are not known", h.Typeflag)
}

// enter makes dir the parent of what comes, and makes it if the tar has no entry for it.
func (x *extraction) enter(dir string) error {
	if x.parent != nil && x.parentName == dir {
		return nil
	}
	if err := x.leave(); err != nil {
		return err
	}
	if !filepath.IsLocal(dir) {
		return errors.New("its name leads elsewhere")
	}
	if dir != "." {
		if err := x.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	parent, err := x.root.OpenRoot(dir + "/.") // OpenRoot of what has become a FIFO would wait
	if err != nil {
		return err
	}
	x.parent, x.parentName = parent, dir
	return nil
}

func (x *extraction) leave() error {
	if x.parent == nil {
		return nil
	}
	err := x.parent.Close()
	x.parent = nil
	return err
}

func (x *extraction) directory(h *tar.Header, name, base string) error {
	err := x.parent.Mkdir(base, 0o700)
	if errors.Is(err, fs.ErrExist) {
		info, err := x.parent.Stat(base)
		if err == nil && !info.IsDir() {
			err = errors.New("there is something that is no directory")
		}
		return err
	}
	if err != nil {
		return err
	}
	info, err := x.parent.Lstat(base)
	if err != nil {
		return err
	}
	later := &tar.Header{Name: name, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid, ModTime: h.ModTime, PAXRecords: map[string]string{}}
	size := 2 * len(name)
	for key, value := range h.PAXRecords { // each of which has all of them in memory
		if attr, ok := strings.CutPrefix(key, xattrKey); ok && x.options.Xattr != nil && x.options.Xattr(attr) {
			later.PAXRecords[strings.Clone(key)] = strings.Clone(value)
			size += len(key) + len(value)
		}
	}
	x.dirs = append(x.dirs, madeDir{name, later, info})
	return x.keep(size)
}

// replace puts what make makes under a temporary name in the place of what has the name.
func (x *extraction) replace(h *tar.Header, name, base string, make func(temporary string) error) error {
	if info, err := x.parent.Lstat(base); err == nil && info.IsDir() {
		return errors.New("there is a directory of that name")
	}
	unready := temporary + rand.Text()
	err := make(unready)
	if err == nil {
		if err = x.parent.Rename(unready, base); err == nil {
			if h.Typeflag != tar.TypeLink {
				x.made[name] = true
				return x.keep(len(name))
			}
			err = nil // a link that was there already: rename does nothing
		}
	}
	if removeErr := x.parent.Remove(unready); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

func (x *extraction) hardLink(h *tar.Header, name, base string) error {
	target, err := x.place(h.Linkname)
	if err != nil {
		return err
	}
	if !x.made[target] {
		return fmt.Errorf("it is another name of %.200q, which the tar does not have before it", h.Linkname)
	}
	if err := x.replace(h, name, base, func(unready string) error { return x.root.Link(target, path.Join(path.Dir(name), unready)) }); err != nil {
		return err
	}
	x.made[name] = true
	return x.keep(len(name))
}

func (x *extraction) file(h *tar.Header, unready string, content io.Reader) (err error) {
	f, err := x.parent.OpenFile(unready, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := x.fill(f, h, cancellable{x.ctx, content}); err != nil {
		return err
	}
	err = x.settle(f, h)
	x.setXattrs(f, h) // a new owner takes capabilities away
	return err
}

func (x *extraction) setXattrs(f *os.File, h *tar.Header) {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrKey)
		if !ok || x.options.Xattr == nil || !x.options.Xattr(name) {
			continue
		}
		if x.options.IDs != nil {
			value = string(x.options.IDs.OutAttribute(name, []byte(value)))
		}
		if err := setXattr(f, name, value); err != nil {
			x.warn("extended attribute %.80q of %.200q was left out: %v", name, h.Name, err)
		}
	}
}

// fill writes the content of a file, and leaves holes.
func (x *extraction) fill(f *os.File, h *tar.Header, content io.Reader) error {
	size, data, to := h.Size, []Segment{{0, h.Size}}, io.Writer(f)
	_, sparse := h.PAXRecords["GNU.sparse.realsize"]
	if text, ok := h.PAXRecords[ownSize]; ok {
		var err error
		if size, err = strconv.ParseInt(text, 10, 64); err == nil {
			data, err = parseMap(h.PAXRecords[ownMap], size, h.Size)
		}
		if err != nil {
			return err
		}
	} else if sparse || h.Typeflag == tar.TypeGNUSparse {
		to = holes{f}
	}
	if to != io.Writer(f) || size != h.Size {
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	for _, s := range data {
		if _, err := f.Seek(s.Offset, io.SeekStart); err != nil {
			return err
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{to}, io.LimitReader(content, s.Length), x.buffer)
		if err != nil {
			return err
		}
		if n != s.Length {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// holes writes to a file of zeros, and leaves out blocks that are nothing else.
type holes struct{ f *os.File }

func (w holes) Write(p []byte) (n int, err error) {
	const block = 4096
	for n < len(p) && err == nil {
		part := p[n:min(n+block, len(p))]
		if isZero(part) {
			if _, err = w.f.Seek(int64(len(part)), io.SeekCurrent); err == nil {
				n += len(part)
			}
			continue
		}
		var written int
		written, err = w.f.Write(part)
		n += written
	}
	return n, err
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// settle gives a file or directory, which is open, its owner, mode and time. The owner is first: to change it takes the mode's special bits away. Nothing of it goes by
// name: who may write to the directory can give that to another file meanwhile.
func (x *extraction) settle(f *os.File, h *tar.Header) (err error) {
	if x.options.Owners {
		owner := x.owner(h)
		err = f.Chown(owner.UID, owner.GID)
	}
	return errors.Join(err, f.Chmod(x.mode(h)), setTime(f, h.ModTime))
}

// settleNode is settle for a link, a device or a FIFO, which cannot be opened as files are.
func (x *extraction) settleNode(temporary string, h *tar.Header) error {
	var owner *Owner
	if x.options.Owners {
		owner = x.owner(h)
	}
	maker := os.Geteuid()
	if x.options.IDs != nil {
		maker, _ = x.options.IDs.Out(0, 0)
	}
	return settleNode(x.parent, temporary, h, owner, x.mode(h), maker)
}

// owner is whom a file of the tar is to belong to.
func (x *extraction) owner(h *tar.Header) *Owner {
	uid, gid := x.options.IDs.Out(h.Uid, h.Gid)
	return &Owner{uid, gid}
}

func (x *extraction) mode(h *tar.Header) fs.FileMode {
	mode := fs.FileMode(h.Mode).Perm()
	for _, b := range specialBits {
		if uint32(h.Mode)&b.bit != 0 && (x.options.Owners || b.mode == fs.ModeSticky) {
			mode |= b.mode
		}
	}
	return mode
}

// finish gives directories what they are to be, the innermost first: times change when things go into them.
func (x *extraction) finish() error {
	for i := len(x.dirs) - 1; i >= 0; i-- {
		d := x.dirs[i]
		if err := x.enter(path.Dir(d.name)); err != nil {
			return err
		}
		if err := x.finishDirectory(path.Base(d.name), d); err != nil {
			return fmt.Errorf("extract %.200q: %w", d.header.Name, err)
		}
	}
	return nil
}

func (x *extraction) finishDirectory(base string, d madeDir) (err error) {
	dir, err := x.parent.OpenFile(base, openDirectory, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, d.info) {
		return errors.New("it was replaced meanwhile")
	}
	x.setXattrs(dir, d.header)
	return x.settle(dir, d.header)
}

func (x *extraction) warn(format string, args ...any) {
	if x.options.Warn != nil {
		x.options.Warn(fmt.Sprintf(format, args...))
	}
}
