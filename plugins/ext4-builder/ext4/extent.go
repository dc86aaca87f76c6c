package ext4

import "encoding/binary"

const (
	extentMagic      = 0xF30A
	extentEntrySize  = 12 // of header, leaf entry and index entry alike
	extentsInInode   = 4
	extentsInBlock   = (blockSize - extentEntrySize - 4) / extentEntrySize // 4: checksum
	maxExtentLen     = 32768                                               // blocks; more means "unwritten"
	maxExtentDepth   = 5
	inodeBlockArea   = 60 // bytes of i_block
	maxLogicalBlocks = 1 << 32
)

// extent maps count blocks of a file, from logical on, to blocks of the disk.
type extent struct {
	logical  uint32
	count    uint32
	physical uint64
}

// appendExtent adds one run of blocks, growing the last extent if it continues it.
func appendExtent(exts []extent, e extent) []extent {
	if n := len(exts); n > 0 {
		last := &exts[n-1]
		if last.logical+last.count == e.logical && last.physical+uint64(last.count) == e.physical {
			grow := min(e.count, maxExtentLen-last.count)
			last.count += grow
			e.logical, e.physical, e.count = e.logical+grow, e.physical+uint64(grow), e.count-grow
		}
	}
	for e.count > 0 {
		part := e
		part.count = min(e.count, maxExtentLen)
		exts = append(exts, part)
		e.logical, e.physical, e.count = e.logical+part.count, e.physical+uint64(part.count), e.count-part.count
	}
	return exts
}

func extentBlocks(exts []extent) (n uint64) {
	for _, e := range exts {
		n += uint64(e.count)
	}
	return n
}

// putExtentHeader starts a node of an extent tree in b.
func putExtentHeader(b []byte, entries, limit, depth int) {
	le := binary.LittleEndian
	le.PutUint16(b[0:], extentMagic)
	le.PutUint16(b[2:], uint16(entries))
	le.PutUint16(b[4:], uint16(limit))
	le.PutUint16(b[6:], uint16(depth))
	le.PutUint32(b[8:], 0) // generation
}

// putExtentEntries writes leaf entries (depth 0) or index entries after a header.
// In an index, physical is the block of the child and count is not stored.
func putExtentEntries(b []byte, entries []extent, depth int) {
	le := binary.LittleEndian
	for i, e := range entries {
		p := b[extentEntrySize*(i+1):]
		le.PutUint32(p[0:], e.logical)
		if depth == 0 {
			le.PutUint16(p[4:], uint16(e.count))
			le.PutUint16(p[6:], uint16(e.physical>>32))
			le.PutUint32(p[8:], uint32(e.physical))
		} else {
			le.PutUint32(p[4:], uint32(e.physical))
			le.PutUint16(p[8:], uint16(e.physical>>32))
			le.PutUint16(p[10:], 0)
		}
	}
}

// buildExtentTree returns the i_block area for exts. Nodes that do not fit in the
// inode are handed to write, which stores a block and returns its number;
// seed is the inode's checksum seed, treeBlocks counts the blocks written.
func buildExtentTree(exts []extent, seed uint32, write func([]byte) (uint64, error)) (area [inodeBlockArea]byte, treeBlocks uint64, err error) {
	entries, depth := exts, 0
	for ; len(entries) > extentsInInode; depth++ {
		var parents []extent
		for len(entries) > 0 {
			n := min(len(entries), extentsInBlock)
			block := make([]byte, blockSize)
			putExtentHeader(block, n, extentsInBlock, depth)
			putExtentEntries(block, entries[:n], depth)
			tail := extentEntrySize * (extentsInBlock + 1)
			binary.LittleEndian.PutUint32(block[tail:], crc32c(seed, block[:tail]))
			at, err := write(block)
			if err != nil {
				return area, treeBlocks, err
			}
			treeBlocks++
			parents = append(parents, extent{logical: entries[0].logical, physical: at})
			entries = entries[n:]
		}
		entries = parents
	}
	putExtentHeader(area[:], len(entries), extentsInInode, depth)
	putExtentEntries(area[:], entries, depth)
	return area, treeBlocks, nil
}
