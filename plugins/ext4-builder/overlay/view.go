package overlay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

const (
	xattrPrefix   = "trusted.overlay."
	xattrOpaque   = xattrPrefix + "opaque"
	xattrRedirect = xattrPrefix + "redirect"
	xattrMetacopy = xattrPrefix + "metacopy"
	xattrOrigin   = xattrPrefix + "origin"

	maxDepth    = 1024 // directories; redirects could make circles
	maxRedirect = 4096 // bytes
)

// ErrInvalid is wrapped by errors about disks that overlayfs could not have
// left behind.
var ErrInvalid = errors.New("invalid overlay")

// Disk is one layer of the merge.
type Disk struct {
	FS *ext4.Reader
	// Dir is the directory that takes part, "" for the whole disk.
	Dir string
	// Index is the directory with overlayfs's index of hard links
	// (workdir/index), "" if there is none.
	Index string
}

// View is the merge of several disks.
type View struct {
	disks []*layer // top first
	// copiedUp maps hard-linked files of lower disks to the inode of an upper
	// disk that stands for all their names.
	copiedUp map[fileID]piece
}

type layer struct {
	fs    *ext4.Reader
	root  *ext4.Inode
	depth int // position in View.disks
	// parsed directories, since merging looks names up one by one
	dirs map[uint32]map[string]uint32
}

// fileID names an inode over all disks.
type fileID struct {
	depth int
	ino   uint32
}

// piece is an inode of one disk.
type piece struct {
	*layer
	inode *ext4.Inode
}

func (p piece) id() fileID { return fileID{p.depth, p.inode.Number} }

// Open merges disks given bottom first, as overlayfs stacks them.
func Open(disks []Disk) (*View, error) {
	v := &View{copiedUp: make(map[fileID]piece)}
	for i, d := range slices.Backward(disks) {
		l := &layer{fs: d.FS, depth: len(disks) - 1 - i, dirs: make(map[uint32]map[string]uint32)}
		v.disks = append(v.disks, l)
		fsRoot, err := d.FS.Root()
		if err != nil {
			return nil, err
		}
		root, err := l.resolve(fsRoot, d.Dir)
		if err != nil {
			return nil, err
		}
		if root == nil || !root.IsDir() {
			return nil, fmt.Errorf("%w: no directory %q", ErrInvalid, d.Dir)
		}
		l.root = root
	}
	for i, d := range slices.Backward(disks) {
		if d.Index == "" {
			continue
		}
		if err := v.readIndex(v.disks[len(disks)-1-i], d.Index); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// list returns the entries of a directory.
func (l *layer) list(dir *ext4.Inode) (map[string]uint32, error) {
	if entries, ok := l.dirs[dir.Number]; ok {
		return entries, nil
	}
	dirents, err := l.fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	entries := make(map[string]uint32, len(dirents))
	for _, e := range dirents {
		entries[e.Name] = e.Ino
	}
	l.dirs[dir.Number] = entries
	return entries, nil
}

// resolve walks down from dir; nil means that there is no such thing. Links are
// not followed: neither overlayfs's paths nor ours go through any.
func (l *layer) resolve(dir *ext4.Inode, path string) (*ext4.Inode, error) {
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		if !dir.IsDir() {
			return nil, nil
		}
		entries, err := l.list(dir)
		if err != nil {
			return nil, err
		}
		ino, ok := entries[name]
		if !ok {
			return nil, nil
		}
		if dir, err = l.fs.Inode(ino); err != nil {
			return nil, err
		}
	}
	return dir, nil
}

// readIndex learns which lower files have been copied up with all their names.
func (v *View) readIndex(l *layer, path string) error {
	fsRoot, err := l.fs.Root()
	if err != nil {
		return err
	}
	dir, err := l.resolve(fsRoot, path)
	if err != nil || dir == nil || !dir.IsDir() {
		return err
	}
	entries, err := l.list(dir)
	if err != nil {
		return err
	}
	for _, ino := range entries {
		inode, err := l.fs.Inode(ino)
		if err != nil {
			return err
		}
		if inode.IsDir() || isWhiteout(inode) {
			continue
		}
		attrs, err := l.fs.Xattrs(inode)
		if err != nil {
			return err
		}
		if origin, ok := v.origin(l, attrs[xattrOrigin]); ok {
			v.copiedUp[origin] = piece{l, inode}
		}
	}
	return nil
}

// origin decodes overlayfs's file handle of the file that was copied up:
// struct ovl_fb around ext4's inode number and generation.
func (v *View) origin(above *layer, handle []byte) (fileID, bool) {
	const header, magic, inoGen = 21, 0xfb, 1
	if len(handle) != header+8 || handle[1] != magic || handle[4] != inoGen {
		return fileID{}, false
	}
	uuid, ino := [16]byte(handle[5:header]), binary.LittleEndian.Uint32(handle[header:])
	for _, l := range v.disks[above.depth+1:] {
		if l.fs.UUID() == uuid {
			return fileID{l.depth, ino}, true
		}
	}
	return fileID{}, false
}

func isWhiteout(in *ext4.Inode) bool {
	return in.Type() == ext4.ModeChar && in.Major == 0 && in.Minor == 0
}
