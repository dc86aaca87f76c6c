package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// maxExtents bounds the memory that the map of one file takes.
const maxExtents = 1 << 22

// File is the content of a regular file; holes read as zeros. Safe for
// concurrent use.
type File struct {
	fs      *Reader
	size    int64
	extents []extent
}

// Open returns the content of a regular file.
func (fs *Reader) Open(in *Inode) (*File, error) {
	if in.Type() != ModeRegular {
		return nil, fmt.Errorf("inode %d is not a regular file: %w", in.Number, ErrInvalid)
	}
	return fs.open(in)
}

func (fs *Reader) open(in *Inode) (*File, error) {
	if in.flags&inodeFlagExtents == 0 {
		return nil, fmt.Errorf("%w: inode %d has a block map, not extents", ErrUnsupported, in.Number)
	}
	t := extentWalk{fs: fs, seed: inodeSeed(fs.seed, in.Number, in.Generation)}
	depth := binary.LittleEndian.Uint16(in.block[6:])
	if depth > maxExtentDepth {
		return nil, corrupt("inode %d: extent tree of depth %d", in.Number, depth)
	}
	if err := t.node(in.block[:], int(depth)); err != nil {
		return nil, fmt.Errorf("inode %d: %w", in.Number, err)
	}
	return &File{fs: fs, size: in.Size, extents: t.extents}, nil
}

// extentWalk collects the leaves of an extent tree. Logical blocks must rise
// from leaf to leaf, so that no block of the tree can be visited twice.
type extentWalk struct {
	fs      *Reader
	seed    uint32
	extents []extent
	next    uint64 // least logical block that may follow
}

func (t *extentWalk) node(b []byte, depth int) error {
	le := binary.LittleEndian
	entries, limit := int(le.Uint16(b[2:])), int(le.Uint16(b[4:]))
	if le.Uint16(b[0:]) != extentMagic || int(le.Uint16(b[6:])) != depth {
		return corrupt("header of an extent node")
	}
	if entries > limit || limit > len(b)/extentEntrySize-1 {
		return corrupt("extent node with %d of %d entries", entries, limit)
	}
	for e := b[extentEntrySize:][:entries*extentEntrySize]; len(e) > 0; e = e[extentEntrySize:] {
		logical := le.Uint32(e[0:])
		if uint64(logical) < t.next {
			return corrupt("extents out of order at block %d", logical)
		}
		if depth > 0 {
			if err := t.child(uint64(le.Uint32(e[4:]))|uint64(le.Uint16(e[8:]))<<32, depth-1); err != nil {
				return err
			}
			// An empty child must not be visited again either.
			t.next = max(t.next, uint64(logical)+1)
			continue
		}
		x := extent{
			logical: logical, count: uint32(le.Uint16(e[4:])),
			physical: uint64(le.Uint16(e[6:]))<<32 | uint64(le.Uint32(e[8:])),
		}
		unwritten := x.count > maxExtentLen // reads as zeros, like a hole
		if unwritten {
			x.count -= maxExtentLen
		}
		t.next = uint64(logical) + uint64(x.count)
		if x.count == 0 || x.physical == 0 || x.physical+uint64(x.count) > t.fs.blocks || t.next > maxLogicalBlocks {
			return corrupt("extent of %d blocks at %d", x.count, x.physical)
		}
		if !unwritten {
			t.extents = append(t.extents, x)
		}
		if len(t.extents) > maxExtents {
			return fmt.Errorf("%w: more than %d extents", ErrUnsupported, maxExtents)
		}
	}
	return nil
}

func (t *extentWalk) child(at uint64, depth int) error {
	b, err := t.fs.readBlock(at)
	if err != nil {
		return err
	}
	if !t.fs.unchecked {
		tail := extentEntrySize * (int(binary.LittleEndian.Uint16(b[4:])) + 1)
		if tail+4 > len(b) || crc32c(t.seed, b[:tail]) != binary.LittleEndian.Uint32(b[tail:]) {
			return corrupt("checksum of extent block %d", at)
		}
	}
	return t.node(b, depth)
}

// Size is the length of the content in bytes.
func (f *File) Size() int64 { return f.size }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("negative offset %d: %w", offset, ErrInvalid)
	}
	if offset >= f.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > f.size-offset
	if short {
		p = p[:f.size-offset]
	}
	done := 0
	for done < len(p) {
		n, err := f.readRun(p[done:], offset+int64(done))
		if err != nil {
			return done, err
		}
		done += n
	}
	if short {
		return done, io.EOF
	}
	return done, nil
}

// readRun reads up to the end of the extent or hole at offset.
func (f *File) readRun(p []byte, offset int64) (int, error) {
	bs := f.fs.blockSize
	i, found := slices.BinarySearchFunc(f.extents, offset/bs, func(e extent, block int64) int {
		if int64(e.logical)+int64(e.count) <= block {
			return -1
		}
		if int64(e.logical) > block {
			return 1
		}
		return 0
	})
	if !found {
		n := len(p)
		if i < len(f.extents) {
			n = int(min(int64(n), int64(f.extents[i].logical)*bs-offset))
		}
		clear(p[:n])
		return n, nil
	}
	e := f.extents[i]
	within := offset - int64(e.logical)*bs
	n := int(min(int64(len(p)), int64(e.count)*bs-within))
	return n, f.fs.readAt(p[:n], int64(e.physical)*bs+within)
}

// Readlink returns the target of a symbolic link.
func (fs *Reader) Readlink(in *Inode) (string, error) {
	if in.Type() != ModeSymlink {
		return "", fmt.Errorf("inode %d is not a symlink: %w", in.Number, ErrInvalid)
	}
	if in.Size == 0 || in.Size > MaxTarget {
		return "", corrupt("symlink %d with a target of %d bytes", in.Number, in.Size)
	}
	if in.flags&inodeFlagExtents == 0 {
		if in.Size >= inodeBlockArea {
			return "", corrupt("symlink %d with a target of %d bytes", in.Number, in.Size)
		}
		return checkTarget(in, in.block[:in.Size])
	}
	f, err := fs.open(in)
	if err != nil {
		return "", err
	}
	b := make([]byte, in.Size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return "", err
	}
	return checkTarget(in, b)
}

func checkTarget(in *Inode, b []byte) (string, error) {
	if slices.Contains(b, 0) {
		return "", corrupt("symlink %d with NUL in its target", in.Number)
	}
	return string(b), nil
}
