package overlay

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

// File is one merged file: a directory made of several, or anything else.
type File struct {
	// Xattrs are the extended attributes but overlayfs's own.
	Xattrs map[string][]byte

	view   *View
	pieces []piece // top first; more than one of a directory, and of a file whose data lies below
	depth  int
}

// Inode has the attributes of the merged file. Its number and link count are
// those of one disk.
func (f *File) Inode() *ext4.Inode { return f.pieces[0].inode }

// ID is equal for all names of one file.
func (f *File) id() fileID { return f.pieces[0].id() }

// Root returns the merged root directory.
func (v *View) Root() (*File, error) {
	f := &File{view: v}
	for _, l := range v.disks {
		f.pieces = append(f.pieces, piece{l, l.root})
		if f.Xattrs == nil {
			attrs, err := l.fs.Xattrs(l.root)
			if err != nil {
				return nil, err
			}
			f.Xattrs = visible(attrs)
		}
	}
	return f, nil
}

// visible removes overlayfs's attributes.
func visible(attrs map[string][]byte) map[string][]byte {
	out := make(map[string][]byte, len(attrs))
	for name, value := range attrs {
		if !strings.HasPrefix(name, xattrPrefix) {
			out[name] = value
		}
	}
	return out
}

// Names returns the names in a merged directory in order.
func (f *File) Names() ([]string, error) {
	seen := make(map[string]bool)
	var names []string
	for _, p := range f.pieces {
		entries, err := p.list(p.inode)
		if err != nil {
			return nil, err
		}
		for name := range entries {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// Lookup returns the merged file of a name in a directory, nil if there is none or it
// is whited out.
func (f *File) Lookup(name string) (*File, error) {
	if f.depth >= maxDepth {
		return nil, fmt.Errorf("%w: directories nested more than %d deep", ErrInvalid, maxDepth)
	}
	child := &File{view: f.view, depth: f.depth + 1}
	search := f.pieces // where to look, top first
	path := name       // what to look for there
	for len(search) > 0 {
		at := search[0]
		search = search[1:]
		inode, err := at.resolve(at.inode, path)
		if err != nil {
			return nil, err
		}
		if inode == nil {
			continue
		}
		more, redirect, err := child.add(piece{at.layer, inode})
		if err != nil || !more {
			return child.orNil(), err
		}
		if redirect == "" {
			continue
		}
		if strings.HasPrefix(redirect, "/") {
			search = f.view.rootsBelow(at.depth)
		}
		path = redirect
		if !strings.HasPrefix(redirect, "/") && strings.Contains(redirect, "/") || len(redirect) > maxRedirect {
			return nil, fmt.Errorf("%w: redirect to %.100q", ErrInvalid, redirect)
		}
	}
	return child.orNil(), nil
}

func (f *File) orNil() *File {
	if len(f.pieces) == 0 {
		return nil
	}
	return f
}

func (v *View) rootsBelow(depth int) (roots []piece) {
	for _, l := range v.disks[depth+1:] {
		roots = append(roots, piece{l, l.root})
	}
	return roots
}

// add takes in what a disk has of the file. more says that lower disks may
// have to do with it too, redirect under which name.
func (f *File) add(p piece) (more bool, redirect string, err error) {
	if isWhiteout(p.inode) {
		return false, "", nil
	}
	top := len(f.pieces) == 0
	if !top && p.inode.IsDir() != f.Inode().IsDir() {
		return false, "", nil // an upper directory hides a lower file, and the reverse
	}
	if up, ok := f.view.copiedUp[p.id()]; ok && top {
		if more, _, err = f.add(up); err != nil || !more {
			return false, "", err
		}
		return f.add(p) // only metadata was copied up
	}
	attrs, err := p.fs.Xattrs(p.inode)
	if err != nil {
		return false, "", err
	}
	f.pieces = append(f.pieces, p)
	if top {
		f.Xattrs = visible(attrs)
	}
	redirect = string(attrs[xattrRedirect])
	if p.inode.IsDir() {
		return string(attrs[xattrOpaque]) != "y", redirect, nil
	}
	_, metacopy := attrs[xattrMetacopy]
	return metacopy, redirect, nil
}

// Open returns the content of a regular file.
func (f *File) Open() (*ext4.File, error) {
	p := f.pieces[len(f.pieces)-1] // those above hold metadata only
	if len(f.pieces) > 1 && p.inode.Size != f.Inode().Size {
		return nil, fmt.Errorf("%w: inode %d has metadata of another file", ErrInvalid, f.Inode().Number)
	}
	attrs, err := p.fs.Xattrs(p.inode)
	if err != nil {
		return nil, err
	}
	// An empty one may be of a mount point that is no image's (rootfs/places.go of vminitd), after somebody has unmounted what was there.
	if _, metacopy := attrs[xattrMetacopy]; metacopy && p.inode.Size > 0 {
		return nil, fmt.Errorf("%w: the data of inode %d is missing", ErrInvalid, p.inode.Number)
	}
	return p.fs.Open(p.inode)
}

// Readlink returns the target of a symbolic link.
func (f *File) Readlink() (string, error) { return f.pieces[0].fs.Readlink(f.Inode()) }

// forget drops what is remembered of the directory, which is done with.
func (f *File) forget() {
	for _, p := range f.pieces {
		delete(p.dirs, p.inode.Number)
	}
}
