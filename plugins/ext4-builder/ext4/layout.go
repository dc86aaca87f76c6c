package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	groupInodeUninit = 0x1 // no inode used, inode bitmap not written
	groupBlockUninit = 0x2 // no block used, block bitmap not written
	groupInodeZeroed = 0x4 // inode table is zero where unused; the kernel need not do it

	inodesPerBlock = blockSize / inodeSize
	descsPerBlock  = blockSize / descSize
	groupsPerFlex  = 4 // as a power of two
)

// layout says where the metadata of a file system lies: superblock and group
// descriptors at the start; from metaStart on the block bitmaps of all groups,
// then their inode bitmaps, then their inode tables (the feature flex_bg lets
// them be anywhere). There are no backups of the superblock: images are rebuilt
// rather than repaired (the feature sparse_super2 lets backups be absent).
type layout struct {
	blocks         uint64
	groups         uint32
	inodesPerGroup uint32
	metaStart      uint64
}

func (l layout) descBlocks() uint64  { return divUp(uint64(l.groups), descsPerBlock) }
func (l layout) tableBlocks() uint64 { return uint64(l.inodesPerGroup / inodesPerBlock) }
func (l layout) metaBlocks() uint64  { return uint64(l.groups) * (2 + l.tableBlocks()) }

func (l layout) blockBitmap(g uint32) uint64 { return l.metaStart + uint64(g) }
func (l layout) inodeBitmap(g uint32) uint64 { return l.metaStart + uint64(l.groups) + uint64(g) }
func (l layout) inodeTable(g uint32) uint64 {
	return l.metaStart + 2*uint64(l.groups) + uint64(g)*l.tableBlocks()
}

func divUp(a, b uint64) uint64 { return (a + b - 1) / b }

// imageLayout fits groups around an image whose other blocks end at metaStart
// and that holds inodes up to number lastIno.
func imageLayout(metaStart uint64, lastIno uint32) layout {
	l := layout{metaStart: metaStart, groups: 1}
	for {
		perGroup := divUp(uint64(lastIno), uint64(l.groups))
		l.inodesPerGroup = uint32(divUp(perGroup, inodesPerBlock) * inodesPerBlock)
		l.blocks = metaStart + l.metaBlocks()
		groups := uint32(divUp(l.blocks, blocksPerGrp))
		if l.inodesPerGroup > blockSize*8 { // more than a bitmap counts
			groups = max(groups, l.groups+1)
		}
		if groups <= l.groups {
			break
		}
		l.groups = groups
	}
	// A group more than the blocks need holds free blocks only, at least one.
	l.blocks = max(l.blocks, uint64(l.groups-1)*blocksPerGrp+1)
	return l
}

// usage is what the bitmaps and counters of the groups derive from.
type usage struct {
	used    blockSet // normalised, metadata included
	lastIno uint32   // inodes 1 to lastIno are in use, no others
	dirs    []uint32 // directories per group
}

// writeGroups writes bitmaps and group descriptors and completes the counters
// of sb. Bitmaps of groups with nothing in them are not written, nor are inode
// tables, which are the caller's.
func (l layout) writeGroups(out io.WriterAt, sb *superblock, u usage) error {
	seed := sb.csumSeed()
	descs := make([]byte, l.descBlocks()*blockSize)
	var freeBlocks uint64
	var freeInodes uint32
	for g := range l.groups {
		first := uint64(g) * blocksPerGrp
		size := uint32(min(l.blocks-first, blocksPerGrp))
		d := groupDesc{
			blockBitmap: l.blockBitmap(g), inodeBitmap: l.inodeBitmap(g), inodeTable: l.inodeTable(g),
			flags: groupInodeZeroed,
		}
		if int(g) < len(u.dirs) {
			d.usedDirs = u.dirs[g]
		}

		bits, used := u.used.bitmap(first)
		d.freeBlocks = size - used
		if used == 0 && g != l.groups-1 {
			d.flags |= groupBlockUninit
		} else {
			setBits(bits, int(size), blocksPerGrp)
			d.blockBitmapSum = crc32c(seed, bits)
			if _, err := out.WriteAt(bits, int64(d.blockBitmap)*blockSize); err != nil {
				return fmt.Errorf("write block bitmap: %w", err)
			}
		}

		usedInodes := min(u.lastIno-min(u.lastIno, g*l.inodesPerGroup), l.inodesPerGroup)
		d.freeInodes = l.inodesPerGroup - usedInodes
		d.unusedInodes = d.freeInodes
		if usedInodes == 0 {
			d.flags |= groupInodeUninit
		} else {
			bits := make([]byte, blockSize)
			setBits(bits, 0, int(usedInodes))
			setBits(bits, int(l.inodesPerGroup), blockSize*8)
			d.inodeBitmapSum = crc32c(seed, bits[:l.inodesPerGroup/8])
			if _, err := out.WriteAt(bits, int64(d.inodeBitmap)*blockSize); err != nil {
				return fmt.Errorf("write inode bitmap: %w", err)
			}
		}
		d.encode(descs[g*descSize:][:descSize], seed, g)
		freeBlocks += uint64(d.freeBlocks)
		freeInodes += d.freeInodes
	}
	if _, err := out.WriteAt(descs, blockSize); err != nil {
		return fmt.Errorf("write group descriptors: %w", err)
	}
	sb.BlocksCountLo, sb.BlocksCountHi = uint32(l.blocks), uint32(l.blocks>>32)
	sb.FreeBlocksCountLo, sb.FreeBlocksCountHi = uint32(freeBlocks), uint32(freeBlocks>>32)
	sb.InodesCount, sb.FreeInodesCount = l.groups*l.inodesPerGroup, freeInodes
	sb.InodesPerGroup = l.inodesPerGroup
	return nil
}

// groupDesc is struct ext4_group_desc in its 64-byte form.
type groupDesc struct {
	blockBitmap, inodeBitmap, inodeTable uint64
	freeBlocks, freeInodes, usedDirs     uint32
	unusedInodes                         uint32
	flags                                uint16
	blockBitmapSum, inodeBitmapSum       uint32
}

func (d *groupDesc) encode(b []byte, fsSeed, group uint32) {
	le := binary.LittleEndian
	split := func(lo, hi int, v uint64) {
		le.PutUint32(b[lo:], uint32(v))
		le.PutUint32(b[hi:], uint32(v>>32))
	}
	split16 := func(lo, hi int, v uint32) {
		le.PutUint16(b[lo:], uint16(v))
		le.PutUint16(b[hi:], uint16(v>>16))
	}
	split(0x00, 0x20, d.blockBitmap)
	split(0x04, 0x24, d.inodeBitmap)
	split(0x08, 0x28, d.inodeTable)
	split16(0x0C, 0x2C, d.freeBlocks)
	split16(0x0E, 0x2E, d.freeInodes)
	split16(0x10, 0x30, d.usedDirs)
	le.PutUint16(b[0x12:], d.flags)
	split16(0x18, 0x38, d.blockBitmapSum)
	split16(0x1A, 0x3A, d.inodeBitmapSum)
	split16(0x1C, 0x32, d.unusedInodes)
	le.PutUint16(b[0x1E:], groupChecksum(b, fsSeed, group))
}

// groupChecksum computes the checksum of a descriptor as if its field were zero.
func groupChecksum(b []byte, fsSeed, group uint32) uint16 {
	sum := crc32cLE32(fsSeed, group)
	sum = crc32c(sum, b[:0x1E])
	sum = crc32c(sum, make([]byte, 2))
	return uint16(crc32c(sum, b[0x20:]))
}
