package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// MaxImage is the largest image a Writer makes, in bytes. The room for group
	// descriptors, which must follow the superblock, is set aside for this size.
	MaxImage = descRoom * descsPerBlock * blocksPerGrp * blockSize

	descRoom  = 64 // blocks
	dataStart = 1 + descRoom
	// holeUnit is the least run of zeros that becomes a hole in a file. Smaller
	// ones would cost more in extents than they save in blocks.
	holeUnit = 16 * blockSize
)

// Output is what an image is written to: new, empty, and owned by the caller.
type Output interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

// HolePuncher is implemented by files that can free a range of bytes, which
// then reads as zeros. Without it such ranges are overwritten.
type HolePuncher interface {
	PunchHole(offset, length int64) error
}

// Options of a new file system. Equal options and input give equal bytes.
type Options struct {
	UUID     [16]byte
	HashSeed [16]byte // salt of directory hashes
	Label    string   // at most 16 bytes; more is cut off
}

// Writer makes a read-only image. Data comes first, in any order, with AddData;
// Finish adds the tree. A Writer is for one goroutine.
type Writer struct {
	file   Output
	stream *blockStream
	sb     *superblock
	seed   uint32
}

// NewWriter starts an image in file. Nothing is valid before Finish returned nil;
// on any error the caller removes the file.
func NewWriter(file Output, opts Options) *Writer {
	sb := newSuperblock(opts)
	sb.FeatureROCompat |= roCompatReadOnly // the kernel refuses to mount it for writing
	return &Writer{file: file, stream: newBlockStream(file, dataStart), sb: sb, seed: sb.csumSeed()}
}

// AddData reads exactly size bytes and stores them as the content of some file.
// Aligned 64 KiB units of zeros become holes. Data that no node of the finished
// tree uses is freed again.
func (w *Writer) AddData(ctx context.Context, r io.Reader, size int64) (Data, error) {
	if size < 0 || uint64(size) > (maxLogicalBlocks-1)*blockSize {
		return Data{}, fmt.Errorf("file of %d bytes is too large: %w", size, ErrInvalid)
	}
	data := Data{size: uint64(size)}
	for offset := int64(0); offset < size; {
		if err := ctx.Err(); err != nil {
			return Data{}, err
		}
		n := int(min(size-offset, holeUnit))
		padded := int(divUp(uint64(n), blockSize)) * blockSize
		buf, err := w.stream.space(padded)
		if err != nil {
			return Data{}, err
		}
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Data{}, err
		}
		if !isZero(buf[:n]) {
			clear(buf[n:])
			data.extents = appendExtent(data.extents, extent{
				logical: uint32(offset / blockSize), count: uint32(padded / blockSize), physical: w.stream.next(),
			})
			w.stream.advance(padded)
		}
		offset += int64(n)
	}
	return data, w.checkSize()
}

func (w *Writer) checkSize() error {
	if w.stream.next() > MaxImage/blockSize {
		return fmt.Errorf("image exceeds %d GiB: %w", int64(MaxImage)>>30, ErrInvalid)
	}
	return nil
}

var zeros [holeUnit]byte

// isZero reports whether b, of at most holeUnit bytes, is all zero.
func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

// Finish writes the tree below root and everything that makes the image a file
// system, and syncs the file. The Writer is of no use afterwards.
func (w *Writer) Finish(ctx context.Context, root *Node) error {
	nodes, err := number(root)
	if err != nil {
		return err
	}
	lastIno := uint32(firstFreeIno - 1 + len(nodes))
	table := make([]byte, int(lastIno)*inodeSize)
	var used blockSet
	dataEnd := w.stream.next()
	for i, n := range append([]*Node{root}, nodes...) {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		used.addExtents(n.Data.extents)
		if err := w.writeNode(n, table[(n.ino-1)*inodeSize:][:inodeSize]); err != nil {
			return fmt.Errorf("write inode %d: %w", n.ino, err)
		}
	}
	if err := w.checkSize(); err != nil {
		return err
	}
	used.add(dataEnd, w.stream.next()-dataEnd)

	l := imageLayout(w.stream.next(), lastIno)
	used.add(0, 1+l.descBlocks())
	used.add(l.metaStart, l.metaBlocks())
	used.normalise()
	if err := w.stream.flush(); err != nil {
		return err
	}
	if err := w.free(used.gaps(dataStart, dataEnd)); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(table, int64(l.inodeTable(0))*blockSize); err != nil {
		return fmt.Errorf("write inode table: %w", err)
	}
	dirs := make([]uint32, l.groups)
	dirs[0] = 1 // root
	for _, n := range nodes {
		if n.IsDir() {
			dirs[(n.ino-1)/l.inodesPerGroup]++
		}
	}
	if err := l.writeGroups(w.file, w.sb, usage{used: used, lastIno: lastIno, dirs: dirs}); err != nil {
		return err
	}
	return seal(ctx, w.file, w.sb)
}

// writeNode encodes the inode of n into raw after writing the blocks it owns
// besides its data.
func (w *Writer) writeNode(n *Node, raw []byte) error {
	in := inode{
		mode: n.Mode, links: uint16(n.links), uid: n.UID, gid: n.GID, modTime: n.ModTime,
	}
	seed := inodeSeed(w.seed, n.ino, 0)
	inline, block, err := encodeXattrs(n.Xattrs)
	if err != nil {
		return err
	}
	in.xattrs = inline
	if block != nil {
		in.xattrBlock = w.stream.next()
		sealXattrBlock(block, in.xattrBlock, w.seed)
		if _, err := w.stream.write(block); err != nil {
			return err
		}
		in.sectors += blockSize / 512
	}

	var content Data
	switch n.Type() {
	case ModeRegular:
		content = n.Data
	case ModeDir:
		in.links = dirLinks(n.subdirs)
		blocks, err := buildDir(n.ino, n.parent, n.dirents(), seed, w.sb.HashSeed)
		if err != nil {
			return err
		}
		if len(blocks) > blockSize {
			in.flags |= inodeFlagIndex
		}
		if content, err = w.ownBlocks(blocks, len(blocks)); err != nil {
			return err
		}
	case ModeSymlink:
		if len(n.Target) < inodeBlockArea {
			in.size = uint64(len(n.Target))
			copy(in.block[:], n.Target)
			in.encode(raw, w.seed, n.ino)
			return nil
		}
		block := make([]byte, blockSize)
		copy(block, n.Target)
		if content, err = w.ownBlocks(block, len(n.Target)); err != nil {
			return err
		}
	default:
		if n.Type() == ModeChar || n.Type() == ModeBlock {
			in.block = encodeDevice(n.Major, n.Minor)
		}
		in.encode(raw, w.seed, n.ino)
		return nil
	}
	in.size = content.size
	in.flags |= inodeFlagExtents
	area, treeBlocks, err := buildExtentTree(content.extents, seed, w.stream.write)
	if err != nil {
		return err
	}
	in.block = area
	in.sectors += (extentBlocks(content.extents) + treeBlocks) * (blockSize / 512)
	in.encode(raw, w.seed, n.ino)
	return nil
}

// ownBlocks stores the blocks of a directory or symlink of size bytes.
func (w *Writer) ownBlocks(blocks []byte, size int) (Data, error) {
	first, err := w.stream.write(blocks)
	if err != nil {
		return Data{}, err
	}
	run := extent{count: uint32(len(blocks) / blockSize), physical: first}
	return Data{size: uint64(size), extents: appendExtent(nil, run)}, nil
}

// dirLinks counts the names of a directory: its own, ".", and ".." of each
// subdirectory; 1 stands for more than can be counted.
func dirLinks(subdirs uint32) uint16 {
	if subdirs+2 >= MaxLinks {
		return 1
	}
	return uint16(subdirs + 2)
}

// free gives back the blocks of data that did not make it into the tree.
func (w *Writer) free(gaps []blockRange) error {
	puncher, canPunch := w.file.(HolePuncher)
	for _, gap := range gaps {
		from, to := int64(gap.first)*blockSize, int64(gap.end)*blockSize
		if canPunch {
			if err := puncher.PunchHole(from, to-from); err != nil {
				return fmt.Errorf("free replaced data: %w", err)
			}
			continue
		}
		for ; from < to; from += holeUnit {
			if _, err := w.file.WriteAt(zeros[:min(holeUnit, to-from)], from); err != nil {
				return fmt.Errorf("clear replaced data: %w", err)
			}
		}
	}
	return nil
}

// newSuperblock holds what all our file systems have in common. Times are zero
// for the sake of equal bytes.
func newSuperblock(opts Options) *superblock {
	sb := &superblock{
		LogBlockSize: logBlockSize, LogClusterSize: logBlockSize,
		BlocksPerGroup: blocksPerGrp, ClustersPerGroup: blocksPerGrp,
		MaxMountCount: 0xFFFF, Magic: superblockMagic, State: stateClean, Errors: errorsContinue,
		RevLevel: 1, FirstIno: firstFreeIno, InodeSize: inodeSize, DescSize: descSize,
		FeatureCompat:   compatExtAttr | compatDirIndex | compatSparseSuper2,
		FeatureIncompat: incompatFiletype | incompatExtents | incompat64Bit | incompatFlexBG,
		FeatureROCompat: roCompatSparseSuper | roCompatLargeFile | roCompatHugeFile | roCompatDirNlink |
			roCompatExtraIsize | roCompatMetadataCsum,
		UUID: opts.UUID, DefHashVersion: hashHalfMD4, Flags: flagUnsignedHash,
		DefaultMountOpts: defaultMountXattr | defaultMountACL,
		MinExtraIsize:    extraIsize, WantExtraIsize: extraIsize,
		LogGroupsPerFlex: groupsPerFlex, ChecksumType: checksumCRC32,
	}
	copy(sb.VolumeName[:], opts.Label)
	for i := range sb.HashSeed {
		sb.HashSeed[i] = binary.LittleEndian.Uint32(opts.HashSeed[4*i:])
	}
	return sb
}

// seal writes the superblock, which makes the file a file system, and brings
// the file to its full size and to the disk.
func seal(ctx context.Context, file Output, sb *superblock) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	raw, err := sb.encode()
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(raw, superblockOffset); err != nil {
		return fmt.Errorf("write superblock: %w", err)
	}
	if err := file.Truncate(int64(sb.blocks()) * blockSize); err != nil {
		return fmt.Errorf("set image size: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync image: %w", err)
	}
	return nil
}
