package layers

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh." // bookkeeping of AUFS, but for the next
	opaqueMarker   = ".wh..wh..opq"

	xattrRecord   = "SCHILY.xattr."
	overlayXattrs = "trusted.overlay."
)

// Store keeps the content of files; ext4.Writer is one.
type Store interface {
	AddData(ctx context.Context, r io.Reader, size int64) (ext4.Data, error)
}

// Apply reads a layer's tar and puts it onto the tree. After an error the tree
// is of no use.
func (t *Tree) Apply(ctx context.Context, content io.Reader, store Store) error {
	l := newLayer(t)
	tr := tar.NewReader(content)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return tarError(err)
		}
		if err := l.add(ctx, hdr, tr, store); err != nil {
			return fmt.Errorf("entry %.200q: %w", hdr.Name, err)
		}
	}
	l.merge(t.root, l.root)
	return nil
}

// tarError tells errors of the archive from those of reading it.
func tarError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrFieldTooLong) {
		return invalid("%v", err)
	}
	return err
}

// add puts one entry into the layer.
func (l *layer) add(ctx context.Context, hdr *tar.Header, content io.Reader, store Store) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	parts, err := cleanPath(hdr.Name)
	if err != nil {
		return err
	}
	if err := l.tree.charge(len(hdr.Name)); err != nil {
		return err
	}
	if len(parts) == 0 {
		if hdr.Typeflag != tar.TypeDir {
			return invalid("the root must be a directory")
		}
		return l.describe(l.root, hdr)
	}
	if strings.HasPrefix(parts[0], whiteoutMeta) && parts[0] != opaqueMarker {
		return nil
	}
	here := resolver{root: l.root, mkdir: func() (*ext4.Node, error) {
		return l.addDir(), l.tree.charge(0)
	}}
	dir, err := here.dir(parts[:len(parts)-1])
	if err != nil {
		return err
	}
	name := parts[len(parts)-1]
	if strings.HasPrefix(name, whiteoutPrefix) {
		return l.whiteout(dir, name)
	}
	if hdr.Typeflag == tar.TypeLink {
		target, err := l.linkTarget(hdr.Linkname)
		if err != nil {
			return err
		}
		dir.Children[name] = target
		return nil
	}
	if existing := dir.Children[name]; hdr.Typeflag == tar.TypeDir && existing != nil && existing.IsDir() {
		return l.describe(existing, hdr)
	}
	node, err := l.node(ctx, hdr, content, store)
	if err != nil {
		return err
	}
	dir.Children[name] = node
	return nil
}

// whiteout notes what of the lower layers is hidden.
func (l *layer) whiteout(dir *ext4.Node, name string) error {
	marks := l.marks[dir]
	switch hidden := strings.TrimPrefix(name, whiteoutPrefix); {
	case name == opaqueMarker:
		marks.opaque = true
	case strings.HasPrefix(name, whiteoutMeta):
		// AUFS's own files: nothing for others.
	case hidden == "" || hidden == "." || hidden == "..":
		return invalid("whiteout of %q", hidden)
	default:
		if marks.whiteouts == nil {
			marks.whiteouts = make(map[string]struct{})
		}
		marks.whiteouts[hidden] = struct{}{}
	}
	return nil
}

// linkTarget finds the file that a hard link names: in this layer, else below.
func (l *layer) linkTarget(name string) (*ext4.Node, error) {
	parts, err := cleanPath(name)
	if err != nil {
		return nil, fmt.Errorf("hard link: %w", err)
	}
	for _, root := range []*ext4.Node{l.root, l.tree.root} {
		node, err := resolver{root: root}.find(parts)
		switch {
		case err != nil:
			return nil, fmt.Errorf("hard link: %w", err)
		case node != nil && node.IsDir():
			return nil, invalid("hard link to directory %.200q", name)
		case node != nil:
			return node, nil
		}
	}
	return nil, invalid("hard link to %.200q, which does not exist", name)
}

// describe gives a directory the attributes of its entry.
func (l *layer) describe(dir *ext4.Node, hdr *tar.Header) error {
	children := dir.Children
	node, err := l.attributes(hdr, ext4.ModeDir)
	if err != nil {
		return err
	}
	*dir = *node
	dir.Children = children
	l.marks[dir].explicit = true
	return nil
}

// node makes the inode of an entry that is neither whiteout nor hard link.
func (l *layer) node(ctx context.Context, hdr *tar.Header, content io.Reader, store Store) (*ext4.Node, error) {
	switch hdr.Typeflag {
	case tar.TypeDir:
		dir := l.addDir()
		return dir, l.describe(dir, hdr)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		node, err := l.attributes(hdr, ext4.ModeRegular)
		if err != nil {
			return nil, err
		}
		if node.Data, err = store.AddData(ctx, content, hdr.Size); err != nil {
			return nil, tarError(err)
		}
		return node, nil
	case tar.TypeSymlink:
		if len(hdr.Linkname) == 0 || len(hdr.Linkname) > ext4.MaxTarget || strings.ContainsRune(hdr.Linkname, 0) {
			return nil, invalid("symbolic link with a target of %d bytes, want 1 to %d", len(hdr.Linkname), ext4.MaxTarget)
		}
		node, err := l.attributes(hdr, ext4.ModeSymlink)
		if err != nil {
			return nil, err
		}
		node.Target = hdr.Linkname
		return node, l.tree.charge(len(hdr.Linkname))
	case tar.TypeChar:
		if hdr.Devmajor == 0 && hdr.Devminor == 0 {
			return nil, invalid("character device 0:0 would hide a file in overlayfs")
		}
		return l.device(hdr, ext4.ModeChar)
	case tar.TypeBlock:
		return l.device(hdr, ext4.ModeBlock)
	case tar.TypeFifo:
		return l.attributes(hdr, ext4.ModeFIFO)
	}
	return nil, fmt.Errorf("%w: entry of type %q", ErrUnsupported, hdr.Typeflag)
}

func (l *layer) device(hdr *tar.Header, kind uint16) (*ext4.Node, error) {
	if hdr.Devmajor < 0 || hdr.Devmajor > 1<<12-1 || hdr.Devminor < 0 || hdr.Devminor > 1<<20-1 {
		return nil, invalid("device number %d:%d", hdr.Devmajor, hdr.Devminor)
	}
	node, err := l.attributes(hdr, kind)
	if err != nil {
		return nil, err
	}
	node.Major, node.Minor = uint32(hdr.Devmajor), uint32(hdr.Devminor)
	return node, nil
}

// attributes makes a node with what all kinds of entry have.
func (l *layer) attributes(hdr *tar.Header, kind uint16) (*ext4.Node, error) {
	if int64(hdr.Uid) < 0 || int64(hdr.Uid) >= math.MaxUint32 || int64(hdr.Gid) < 0 || int64(hdr.Gid) >= math.MaxUint32 {
		return nil, invalid("owner %d:%d", hdr.Uid, hdr.Gid)
	}
	node := &ext4.Node{
		Mode: kind | uint16(hdr.Mode)&ext4.ModePerm,
		UID:  uint32(hdr.Uid), GID: uint32(hdr.Gid),
		ModTime: hdr.ModTime,
	}
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok {
			continue
		}
		if strings.HasPrefix(name, overlayXattrs) {
			return nil, invalid("extended attribute %.200q would control overlayfs", name)
		}
		if !ext4.XattrStorable(name) {
			l.tree.skipped[name]++
			continue
		}
		if err := l.tree.charge(len(name) + len(value)); err != nil {
			return nil, err
		}
		if node.Xattrs == nil {
			node.Xattrs = make(map[string][]byte)
		}
		node.Xattrs[name] = []byte(value)
	}
	if err := ext4.CheckXattrs(node.Xattrs); err != nil {
		return nil, invalid("%v", err)
	}
	return node, nil
}
