package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/guest/idmap"
)

// openDirectory opens nothing but directories: to open a FIFO would wait for its other end.
const openDirectory = os.O_RDONLY | nonblock | syscall.O_DIRECTORY

// PackOptions of a Packer.
type PackOptions struct {
	// Owner, if it is not nil, is whom all files belong to in the tar.
	Owner *Owner
	// IDs are the maps of a user namespace that the files are shown with; the tar has what they are in it. Nil: as they are.
	IDs *idmap.Maps
	// NoHoles has holes be written as zeros.
	NoHoles bool
	// Warn is told what was left out; nil: nobody is.
	Warn func(string)
}

// Owner of a file.
type Owner struct{ UID, GID int }

// Packer writes trees to one tar. Links are written as links, and never followed; files with several names are written once.
type Packer struct {
	to      *Writer
	options PackOptions
	seen    map[fileID]string // files with several names, and the first of them
	kept    int               // bytes of those names
	buffer  []byte
}

// NewPacker returns a packer, which does not close the writer.
func NewPacker(to *Writer, options PackOptions) *Packer {
	return &Packer{to: to, options: options, seen: map[fileID]string{}, buffer: make([]byte, 128<<10)}
}

// maxDepth bounds how deep directories are packed, one open descriptor each.
const maxDepth = 1000

// maxPseudo bounds a file of which nobody but its content tells the size, in bytes.
const maxPseudo = 4 << 20

// pseudoPatience bounds reading one.
const pseudoPatience = 5 * time.Second

// maxKeptNames bounds what is kept of the names of files with several, in bytes.
const maxKeptNames = 64 << 20

// Tree packs the file, or the directory with all below it, called name in dir, as the name as. "." is dir itself, and "." as a name adds nothing to those below.
func (p *Packer) Tree(ctx context.Context, dir *os.Root, name, as string) error {
	return p.tree(ctx, dir, name, as, 0)
}

func (p *Packer) tree(ctx context.Context, dir *os.Root, name, as string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if err := p.Entry(ctx, dir, name, as, info); err != nil || !info.IsDir() {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("%q is more than %d directories deep", as, maxDepth)
	}
	below, err := dir.OpenRoot(name + "/.") // OpenRoot of what has become a FIFO would wait
	if errors.Is(err, fs.ErrNotExist) && depth > 0 {
		return nil // it went meanwhile
	}
	if err != nil {
		return err
	}
	defer below.Close() // only read
	return Each(below, func(n string) error {
		err := p.tree(ctx, below, n, path.Join(as, n), depth+1)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nobody stops a container's processes while its files are read
		}
		return err
	})
}

// namesAtOnce is how many names of a directory are kept in memory: it may have millions.
const namesAtOnce = 4096

// Each calls do with each name of a directory, until there is an error, which it returns. Names of a directory that is not large come sorted.
func Each(dir *os.Root, do func(name string) error) (err error) {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer func() {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	for f != nil {
		names, err := f.Readdirnames(namesAtOnce)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(names) < namesAtOnce { // there are no more; what is below shall not find one descriptor the less for each directory above
			err := f.Close()
			if f = nil; err != nil {
				return err
			}
		}
		slices.Sort(names)
		for _, name := range names {
			if err := do(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Entry packs one file, or a directory without what is below it. info is what Lstat told of it.
func (p *Packer) Entry(ctx context.Context, dir *os.Root, name, as string, info fs.FileInfo) error {
	h, err := p.header(dir, name, as, info)
	if err != nil || h == nil {
		return err
	}
	if h.Type == tar.TypeReg {
		return p.file(ctx, dir, name, h, info)
	}
	return p.to.Next(*h)
}

// header is nil for what no tar can hold.
func (p *Packer) header(dir *os.Root, name, as string, info fs.FileInfo) (*Header, error) {
	h := &Header{Name: as, Mode: permissions(info.Mode()), Time: info.ModTime()}
	stat := statOf(info)
	h.UID, h.GID = p.options.IDs.In(stat.owner.UID, stat.owner.GID)
	if p.options.Owner != nil {
		h.UID, h.GID = p.options.Owner.UID, p.options.Owner.GID
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		h.Type, h.Size = tar.TypeReg, info.Size()
	case mode.IsDir():
		h.Type, h.Name = tar.TypeDir, strings.TrimSuffix(as, "/")+"/"
		var err error
		if h.Xattrs, err = p.xattrs(dir, name); err != nil {
			return nil, err
		}
		return h, nil
	case mode&fs.ModeSymlink != 0:
		target, err := dir.Readlink(name)
		if err != nil {
			return nil, err
		}
		h.Type, h.Link = tar.TypeSymlink, target
	case mode&fs.ModeNamedPipe != 0:
		h.Type = tar.TypeFifo
	case mode&fs.ModeDevice != 0:
		h.Type, h.Major, h.Minor = tar.TypeBlock, stat.major, stat.minor
		if mode&fs.ModeCharDevice != 0 {
			h.Type = tar.TypeChar
		}
	default:
		p.warn("%q was left out: a tar holds no sockets", as)
		return nil, nil
	}
	if stat.links > 1 {
		if first, ok := p.seen[stat.id]; ok {
			h.Type, h.Link, h.Size = tar.TypeLink, first, 0
		} else {
			if p.kept += len(as); p.kept > maxKeptNames {
				return nil, errors.New("there are too many files with several names")
			}
			p.seen[stat.id] = as
		}
	}
	return h, nil
}

func (p *Packer) xattrs(dir *os.Root, name string) (map[string]string, error) {
	f, err := dir.OpenFile(name, openDirectory, 0)
	if err != nil {
		return nil, err
	}
	attrs, err := p.attributes(f)
	return attrs, errors.Join(err, f.Close())
}

// attributes are a file's extended ones as the tar has them.
func (p *Packer) attributes(f *os.File) (map[string]string, error) {
	attrs, err := xattrsOf(f)
	if p.options.IDs != nil {
		for name, value := range attrs {
			attrs[name] = string(p.options.IDs.InAttribute(name, []byte(value)))
		}
	}
	return attrs, err
}

func (p *Packer) warn(format string, args ...any) {
	if p.options.Warn != nil {
		p.options.Warn(fmt.Sprintf(format, args...))
	}
}

// file packs a regular file. Between Lstat and Open the name may have been given to another; to open a FIFO must not wait.
func (p *Packer) file(ctx context.Context, dir *os.Root, name string, h *Header, was fs.FileInfo) (err error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || !os.SameFile(info, was) {
		return fmt.Errorf("%q was replaced while it was read", h.Name)
	}
	h.Size = info.Size()
	if h.Xattrs, err = p.attributes(f); err != nil {
		return err
	}
	if isPseudo(f) {
		_ = f.SetReadDeadline(time.Now().Add(pseudoPatience)) // some wait for more, like the kernel's log; others have no deadline
		content, err := io.ReadAll(io.LimitReader(f, maxPseudo))
		if err != nil {
			return err
		}
		h.Size = int64(len(content))
		if err = p.to.Next(*h); err == nil {
			_, err = p.to.Write(content)
		}
		return err
	}
	if !p.options.NoHoles {
		h.Data = segments(f, info)
	}
	if err := p.to.Next(*h); err != nil {
		return err
	}
	data := h.Data
	if data == nil {
		data = []Segment{{0, h.Size}}
	}
	short := false
	for _, s := range data {
		part := io.NewSectionReader(f, s.Offset, s.Length)
		n, err := io.CopyBuffer(struct{ io.Writer }{p.to}, cancellable{ctx, part}, p.buffer)
		if err != nil {
			return err
		}
		if n < s.Length {
			short = true
			if _, err := io.CopyBuffer(struct{ io.Writer }{p.to}, io.LimitReader(nothing{}, s.Length-n), p.buffer); err != nil {
				return err
			}
		}
	}
	if short {
		p.warn("%q became shorter while it was read; its end is zeros", h.Name)
	}
	return nil
}

// cancellable is a reader that fails once ctx has ended.
type cancellable struct {
	ctx context.Context
	io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

// nothing reads as zeros.
type nothing struct{}

func (nothing) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// permissions are the lower twelve bits of st_mode.
func permissions(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for _, b := range specialBits {
		if mode&b.mode != 0 {
			bits |= b.bit
		}
	}
	return bits
}

var specialBits = []struct {
	mode fs.FileMode
	bit  uint32
}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}}
