package ext4

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Dirent is an entry of a directory.
type Dirent struct {
	Name string
	Ino  uint32
}

// ReadDir returns the entries of a directory in order of name, without "." and
// "..". Names have no slash or NUL and occur once.
func (fs *Reader) ReadDir(dir *Inode) ([]Dirent, error) {
	if !dir.IsDir() {
		return nil, fmt.Errorf("inode %d is not a directory: %w", dir.Number, ErrInvalid)
	}
	f, err := fs.open(dir)
	if err != nil {
		return nil, err
	}
	if err := checkDirExtents(f, dir); err != nil {
		return nil, err
	}
	var entries []Dirent
	seed := inodeSeed(fs.seed, dir.Number, dir.Generation)
	for i, e := range f.extents {
		for k := range uint64(e.count) {
			block, err := fs.readBlock(e.physical + k)
			if err != nil {
				return nil, err
			}
			isIndex := dir.flags&inodeFlagIndex != 0 && (i == 0 && k == 0 || isIndexNode(block))
			if !fs.unchecked && !isIndex && !leafChecksumOK(block, seed) {
				return nil, corrupt("checksum of block %d of directory %d", e.physical+k, dir.Number)
			}
			if entries, err = parseDirBlock(block, entries); err != nil {
				return nil, fmt.Errorf("directory %d: %w", dir.Number, err)
			}
		}
	}
	slices.SortFunc(entries, func(a, b Dirent) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(entries); i++ {
		if entries[i].Name == entries[i-1].Name {
			return nil, corrupt("directory %d has two entries %q", dir.Number, entries[i].Name)
		}
	}
	return entries, nil
}

// Lookup returns the inode of an entry, nil if there is none of that name.
func (fs *Reader) Lookup(dir *Inode, name string) (*Inode, error) {
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(entries, name, func(d Dirent, name string) int { return cmp.Compare(d.Name, name) })
	if !ok {
		return nil, nil
	}
	return fs.Inode(entries[i].Ino)
}

// checkDirExtents makes sure that a directory is whole and that none of its
// blocks counts twice, so that what it lists is bounded by what is stored.
func checkDirExtents(f *File, dir *Inode) error {
	if f.size%f.fs.blockSize != 0 || extentBlocks(f.extents) != uint64(f.size/f.fs.blockSize) {
		return corrupt("directory %d of %d bytes in %d blocks", dir.Number, f.size, extentBlocks(f.extents))
	}
	byBlock := slices.Clone(f.extents)
	slices.SortFunc(byBlock, func(a, b extent) int { return cmp.Compare(a.physical, b.physical) })
	for i := 1; i < len(byBlock); i++ {
		if byBlock[i-1].physical+uint64(byBlock[i-1].count) > byBlock[i].physical {
			return corrupt("directory %d uses block %d twice", dir.Number, byBlock[i].physical)
		}
	}
	return nil
}

// isIndexNode recognises an interior block of a hash index: one unused entry
// over the whole block. (An empty leaf with checksum ends before its tail.)
func isIndexNode(b []byte) bool {
	return binary.LittleEndian.Uint32(b) == 0 && recLen(b) == len(b)
}

// recLen decodes the length of the entry at the start of b; 64 KiB, which 16 bits
// cannot say, is written as 0 or 65535.
func recLen(b []byte) int {
	n := int(binary.LittleEndian.Uint16(b[4:]))
	if n == 0xFFFF || n == 0 && len(b) == 1<<16 {
		return 1 << 16
	}
	return n
}

func leafChecksumOK(b []byte, seed uint32) bool {
	end := len(b) - dirTailSize
	tail := b[end:]
	return binary.LittleEndian.Uint32(tail) == 0 && binary.LittleEndian.Uint16(tail[4:]) == dirTailSize &&
		tail[6] == 0 && tail[7] == dirTailKind && binary.LittleEndian.Uint32(tail[8:]) == crc32c(seed, b[:end])
}

// parseDirBlock appends the entries of one block, but for "." and "..".
func parseDirBlock(b []byte, entries []Dirent) ([]Dirent, error) {
	for len(b) > 0 {
		if len(b) < direntHeader {
			return nil, corrupt("directory entry cut off")
		}
		n, nameLen := recLen(b), int(b[6])
		if n < direntHeader+nameLen || n%4 != 0 || n > len(b) {
			return nil, corrupt("directory entry of %d bytes with a name of %d", n, nameLen)
		}
		if ino := binary.LittleEndian.Uint32(b); ino != 0 {
			name := b[direntHeader:][:nameLen]
			switch {
			case nameLen == 0 || bytes.ContainsAny(name, "/\x00"):
				return nil, corrupt("directory entry with name %q", name)
			case string(name) != "." && string(name) != "..":
				entries = append(entries, Dirent{string(name), ino})
			}
		}
		b = b[n:]
	}
	return entries, nil
}

// maxWalkPath bounds the depth of a walk by the bytes of the path.
const maxWalkPath = 1 << 16

// Walk calls visit for every name below the root in depth-first order, parents
// first, with a path that starts with "/"; the root itself comes first as "/".
// Hard links are visited once per name.
func (fs *Reader) Walk(visit func(path string, in *Inode) error) error {
	root, err := fs.Root()
	if err != nil {
		return err
	}
	if err := visit("/", root); err != nil {
		return err
	}
	return fs.walk(root, "/", map[uint32]bool{rootIno: true}, visit)
}

func (fs *Reader) walk(dir *Inode, prefix string, seen map[uint32]bool, visit func(string, *Inode) error) error {
	if len(prefix) > maxWalkPath {
		return fmt.Errorf("%w: directories nested too deeply", ErrUnsupported)
	}
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%q: %w", prefix, err)
	}
	for _, e := range entries {
		path := prefix + e.Name
		in, err := fs.Inode(e.Ino)
		if err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
		if in.IsDir() && seen[in.Number] {
			return corrupt("directory %q has two names", path)
		}
		if err := visit(path, in); err != nil {
			return err
		}
		if in.IsDir() {
			seen[in.Number] = true
			if err := fs.walk(in, path+"/", seen, visit); err != nil {
				return err
			}
		}
	}
	return nil
}
