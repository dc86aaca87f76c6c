package overlay

import (
	"archive/tar"
	"context"
	"fmt"
	"io"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

// xattrRecord is the PAX key of an extended attribute, as in layers.
const xattrRecord = "SCHILY.xattr."

// Tar writes the merged tree, the root as "./", in order of name. Hard links
// become links to the first name. Sockets, which tar has no form for, are left
// out.
func Tar(ctx context.Context, v *View, out io.Writer) error {
	root, err := v.Root()
	if err != nil {
		return err
	}
	w := &tarWriter{tar: tar.NewWriter(out), first: make(map[fileID]string), used: make(map[fileID]bool)}
	if err := w.write(ctx, root, "./"); err != nil {
		return err
	}
	if err := w.tar.Close(); err != nil {
		return fmt.Errorf("write tar: %w", err)
	}
	return nil
}

type tarWriter struct {
	tar   *tar.Writer
	first map[fileID]string // of files with several names
	used  map[fileID]bool   // already written as part of something
}

func (w *tarWriter) write(ctx context.Context, f *File, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.Inode().Type() == ext4.ModeSocket {
		return nil
	}
	hdr, err := w.header(f, path)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if err := w.tar.WriteHeader(hdr); err != nil {
		return fmt.Errorf("write tar entry %q: %w", path, err)
	}
	if hdr.Typeflag == tar.TypeLink {
		return nil
	}
	for _, p := range f.pieces {
		// Many redirects to one place, or names that an inode does not count,
		// would make the archive larger than the disks, without bound.
		if w.used[p.id()] {
			return fmt.Errorf("%w: %q is made of something that has another name", ErrInvalid, path)
		}
		w.used[p.id()] = true
	}
	switch hdr.Typeflag {
	case tar.TypeReg:
		return w.content(ctx, f, path)
	case tar.TypeDir:
		return w.children(ctx, f, path)
	}
	return nil
}

// header describes a file.
func (w *tarWriter) header(f *File, path string) (*tar.Header, error) {
	in := f.Inode()
	hdr := &tar.Header{
		Name: path, Mode: int64(in.Mode & ext4.ModePerm), Uid: int(in.UID), Gid: int(in.GID),
		ModTime: in.ModTime, Format: tar.FormatPAX,
	}
	if !in.IsDir() && in.Links > 1 {
		if first, ok := w.first[f.id()]; ok {
			hdr.Typeflag, hdr.Linkname = tar.TypeLink, first
			return hdr, nil
		}
		w.first[f.id()] = path
	}
	for name, value := range f.Xattrs {
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = make(map[string]string)
		}
		hdr.PAXRecords[xattrRecord+name] = string(value)
	}
	var err error
	switch in.Type() {
	case ext4.ModeRegular:
		hdr.Typeflag, hdr.Size = tar.TypeReg, in.Size
	case ext4.ModeDir:
		hdr.Typeflag = tar.TypeDir
	case ext4.ModeSymlink:
		hdr.Typeflag = tar.TypeSymlink
		hdr.Linkname, err = f.Readlink()
	case ext4.ModeChar, ext4.ModeBlock:
		hdr.Typeflag, hdr.Devmajor, hdr.Devminor = tar.TypeChar, int64(in.Major), int64(in.Minor)
		if in.Type() == ext4.ModeBlock {
			hdr.Typeflag = tar.TypeBlock
		}
	case ext4.ModeFIFO:
		hdr.Typeflag = tar.TypeFifo
	default:
		err = fmt.Errorf("%w: file type %#o", ErrInvalid, in.Type())
	}
	return hdr, err
}

func (w *tarWriter) content(ctx context.Context, f *File, path string) error {
	data, err := f.Open()
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	src := ctxReader{ctx, io.NewSectionReader(data, 0, data.Size())}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w.tar}, src, make([]byte, min(data.Size()+1, 1<<20))); err != nil {
		return fmt.Errorf("copy %q: %w", path, err)
	}
	return nil
}

func (w *tarWriter) children(ctx context.Context, f *File, path string) error {
	names, err := f.Names()
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	for _, name := range names {
		child, err := f.Lookup(name)
		if err != nil {
			return fmt.Errorf("%q: %w", path+name, err)
		}
		if child == nil {
			continue
		}
		childPath := path + name
		if child.Inode().IsDir() {
			childPath += "/"
		}
		if err := w.write(ctx, child, childPath); err != nil {
			return err
		}
	}
	f.forget()
	return nil
}

// ctxReader stops a copy when the context is done.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
