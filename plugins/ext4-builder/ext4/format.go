package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	// MinFormat and MaxFormat bound the size of a file system made by Format, in bytes.
	MinFormat = 16 << 20
	MaxFormat = 16 << 40

	bytesPerInode = 16 << 10

	journalMagic        = 0xC03B3998
	journalSuperblockV2 = 4
)

// EmptyDir is a directory of a new file system's root, which is root's.
type EmptyDir struct {
	Name string
	Mode uint16 // permissions
}

// Format makes an empty writable file system of size bytes, rounded down to
// 4 KiB, in file. It has a journal, and every part that can be derived is left
// unwritten, so that it takes milliseconds and a few dozen KiB of disk at any
// size. Its root directory has the given ones in it, and no lost+found.
func Format(ctx context.Context, file Output, size int64, opts Options, dirs ...EmptyDir) error {
	if size < MinFormat || size > MaxFormat {
		return fmt.Errorf("file system of %d bytes, want %d MiB to %d TiB: %w", size, MinFormat>>20, int64(MaxFormat)>>40, ErrInvalid)
	}
	l := formatLayout(uint64(size) / blockSize)
	journal := journalBlocks(l.blocks)
	rootBlock := l.metaStart + l.metaBlocks()
	journalStart := rootBlock + 1 + uint64(len(dirs))

	sb := newSuperblock(opts)
	sb.FeatureCompat |= compatHasJournal
	sb.Errors = errorsReadOnly
	seed := sb.csumSeed()

	journalExtents := appendExtent(nil, extent{count: uint32(journal), physical: journalStart})
	jnl := inode{
		mode: ModeRegular | 0o600, links: 1, size: journal * blockSize,
		sectors: journal * (blockSize / 512), flags: inodeFlagExtents,
	}
	write := func(in *inode, ino uint32, exts []extent) error {
		area, _, err := buildExtentTree(exts, inodeSeed(seed, ino, 0), nil) // few extents: all in the inode
		if err != nil {
			return err
		}
		in.block = area
		raw := make([]byte, inodeSize)
		in.encode(raw, seed, ino)
		if _, err := file.WriteAt(raw, int64(l.inodeTable(0))*blockSize+int64(ino-1)*inodeSize); err != nil {
			return fmt.Errorf("write inode %d: %w", ino, err)
		}
		return nil
	}
	directory := func(ino uint32, mode uint16, block uint64, entries []dirent) error {
		in := inode{mode: ModeDir | mode&0o7777, links: uint16(2 + len(entries)), size: blockSize, sectors: blockSize / 512, flags: inodeFlagExtents}
		if err := write(&in, ino, appendExtent(nil, extent{count: 1, physical: block})); err != nil {
			return err
		}
		body, err := buildDir(ino, rootIno, entries, inodeSeed(seed, ino, 0), sb.HashSeed)
		if err != nil {
			return err
		}
		if len(body) != blockSize {
			return fmt.Errorf("%d directories: %w", len(entries), ErrInvalid)
		}
		if _, err := file.WriteAt(body, int64(block)*blockSize); err != nil {
			return fmt.Errorf("write directory %d: %w", ino, err)
		}
		return nil
	}
	var entries []dirent
	for i, d := range dirs {
		ino := firstFreeIno + uint32(i)
		entries = append(entries, dirent{ino, 2, d.Name})
		if err := directory(ino, d.Mode, rootBlock+1+uint64(i), nil); err != nil {
			return err
		}
	}
	if err := errors.Join(directory(rootIno, 0o755, rootBlock, entries), write(&jnl, journalIno, journalExtents)); err != nil {
		return err
	}
	sb.JournalInum, sb.JnlBackupType = journalIno, journalBackupBlocks
	for i := range 15 {
		sb.JnlBlocks[i] = binary.LittleEndian.Uint32(jnl.block[4*i:])
	}
	sb.JnlBlocks[15], sb.JnlBlocks[16] = uint32(jnl.size>>32), uint32(jnl.size)

	if _, err := file.WriteAt(journalSuperblock(uint32(journal), sb.UUID), int64(journalStart)*blockSize); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}

	used := blockSet{{0, journalStart + journal}}
	if err := l.writeGroups(file, sb, usage{used: used, lastIno: firstFreeIno - 1 + uint32(len(dirs)), dirs: []uint32{1 + uint32(len(dirs))}}); err != nil {
		return err
	}
	sb.OverheadBlocks = uint32(min(l.metaStart+l.metaBlocks()+journal, math.MaxUint32)) // or the kernel writes it, waiting for the disk, with the first mount
	return seal(ctx, file, sb)
}

// formatLayout places the metadata of a file system of a fixed size at its start.
func formatLayout(blocks uint64) layout {
	l := layout{blocks: blocks, groups: uint32(divUp(blocks, blocksPerGrp))}
	inodes := divUp(blocks*blockSize, bytesPerInode)
	l.inodesPerGroup = uint32(divUp(divUp(inodes, uint64(l.groups)), inodesPerBlock) * inodesPerBlock)
	l.metaStart = 1 + l.descBlocks()
	return l
}

// journalBlocks chooses the length of the journal. It bounds what the journal
// of a busy container costs on the host, so it is smaller than mke2fs's choice.
func journalBlocks(blocks uint64) uint64 {
	switch size := blocks * blockSize; {
	case size < 1<<30:
		return 4 << 20 / blockSize
	case size < 32<<30:
		return 16 << 20 / blockSize
	default:
		return 32 << 20 / blockSize
	}
}

// journalSuperblock is the first block of an empty journal; the blocks behind
// it are never read before they are written, and stay holes.
func journalSuperblock(blocks uint32, uuid [16]byte) []byte {
	be := binary.BigEndian
	b := make([]byte, blockSize)
	be.PutUint32(b[0x00:], journalMagic)
	be.PutUint32(b[0x04:], journalSuperblockV2)
	be.PutUint32(b[0x0C:], blockSize)
	be.PutUint32(b[0x10:], blocks)
	be.PutUint32(b[0x14:], 1) // first block of the log
	be.PutUint32(b[0x18:], 1) // first commit expected; start 0 at 0x1C: nothing to replay
	copy(b[0x30:], uuid[:])
	be.PutUint32(b[0x40:], 1) // file systems using the journal
	return b
}
