package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	direntHeader  = 8
	dirTailSize   = 12 // fake entry at the end of a block that carries its checksum
	dirTailKind   = 0xDE
	indexTailSize = 8
	rootEntries   = 32 // offset of the index entries in block 0
	nodeEntries   = 8  // and in the blocks below
	rootLimit     = (blockSize - rootEntries - indexTailSize) / 8
	nodeLimit     = (blockSize - nodeEntries - indexTailSize) / 8
)

// dirent is one entry of a directory.
type dirent struct {
	ino  uint32
	kind uint8
	name string
}

// direntKind is the file type as directory entries name it.
func direntKind(mode uint16) uint8 {
	switch mode & ModeType {
	case ModeRegular:
		return 1
	case ModeDir:
		return 2
	case ModeChar:
		return 3
	case ModeBlock:
		return 4
	case ModeFIFO:
		return 5
	case ModeSocket:
		return 6
	case ModeSymlink:
		return 7
	}
	return 0
}

func direntLen(name string) int { return (direntHeader + len(name) + 3) &^ 3 }

// put writes the entry at the start of b, occupying recLen bytes.
func (d dirent) put(b []byte, recLen int) {
	binary.LittleEndian.PutUint32(b[0:], d.ino)
	binary.LittleEndian.PutUint16(b[4:], uint16(recLen))
	b[6], b[7] = uint8(len(d.name)), d.kind
	copy(b[direntHeader:], d.name)
}

// buildDir returns the blocks of a directory: one linear block if the entries
// fit, else a hash index over leaves. seed is the inode's checksum seed. The
// order of the result depends on names alone.
func buildDir(self, parent uint32, entries []dirent, seed uint32, hashSeed [4]uint32) ([]byte, error) {
	dots := []dirent{{self, 2, "."}, {parent, 2, ".."}}
	total := 0
	for _, e := range entries {
		total += direntLen(e.name)
	}
	if total+direntLen(".")+direntLen("..") <= blockSize-dirTailSize {
		block := make([]byte, blockSize)
		putLeaf(block, append(dots, entries...), seed)
		return block, nil
	}
	return buildIndexedDir(dots, entries, seed, hashSeed)
}

// putLeaf fills a block with entries, the last of which takes the rest of it.
func putLeaf(block []byte, entries []dirent, seed uint32) {
	at, end := 0, blockSize-dirTailSize
	for i, e := range entries {
		n := direntLen(e.name)
		if i == len(entries)-1 {
			n = end - at
		}
		e.put(block[at:], n)
		at += n
	}
	tail := block[end:]
	binary.LittleEndian.PutUint16(tail[4:], dirTailSize)
	tail[7] = dirTailKind
	binary.LittleEndian.PutUint32(tail[8:], crc32c(seed, block[:end]))
}

// indexEntry says that the names from hash on are below a block of the directory.
type indexEntry struct {
	hash, block uint32
}

func buildIndexedDir(dots, entries []dirent, seed uint32, hashSeed [4]uint32) ([]byte, error) {
	type hashed struct {
		dirent
		hash uint32
	}
	sorted := make([]hashed, len(entries))
	for i, e := range entries {
		sorted[i] = hashed{e, dirHash(e.name, hashSeed)}
	}
	slices.SortStableFunc(sorted, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })

	var leaves [][]dirent
	var index []indexEntry // of the leaves; block counts from the first leaf for now
	room := 0
	for i, e := range sorted {
		if n := direntLen(e.name); room < n {
			room = blockSize - dirTailSize
			first := e.hash
			if i > 0 && sorted[i-1].hash == e.hash {
				first |= 1 // this leaf continues the hash that ended the one before
			}
			index = append(index, indexEntry{first, uint32(len(leaves))})
			leaves = append(leaves, nil)
		}
		room -= direntLen(e.name)
		leaves[len(leaves)-1] = append(leaves[len(leaves)-1], e.dirent)
	}

	interior := 0
	if len(leaves) > rootLimit {
		interior = (len(leaves) + nodeLimit - 1) / nodeLimit
		if interior > rootLimit {
			return nil, fmt.Errorf("directory of %d entries is too large: %w", len(entries), ErrInvalid)
		}
	}
	for i := range index {
		index[i].block += uint32(1 + interior)
	}

	out := make([]byte, (1+interior+len(leaves))*blockSize)
	top := index
	for i := range interior {
		below := index[i*nodeLimit : min((i+1)*nodeLimit, len(index))]
		putIndexNode(out[(1+i)*blockSize:][:blockSize], below, seed)
		if i == 0 {
			top = nil
		}
		top = append(top, indexEntry{below[0].hash, uint32(1 + i)})
	}
	putIndexRoot(out[:blockSize], dots, top, interior > 0, seed)
	for i, leaf := range leaves {
		putLeaf(out[(1+interior+i)*blockSize:][:blockSize], leaf, seed)
	}
	return out, nil
}

// putIndexRoot fills block 0: to readers without an index a block that holds
// only "." and "..", to others the top of the index.
func putIndexRoot(block []byte, dots []dirent, entries []indexEntry, twoLevels bool, seed uint32) {
	dots[0].put(block, direntLen("."))
	dots[1].put(block[direntLen("."):], blockSize-direntLen("."))
	info := block[24:]
	info[4], info[5] = hashHalfMD4, 8 // hash version, length of this structure
	if twoLevels {
		info[6] = 1
	}
	putIndexEntries(block, rootEntries, rootLimit, entries, seed)
}

// putIndexNode fills an interior block: one unused entry over the whole block,
// with the index inside it.
func putIndexNode(block []byte, entries []indexEntry, seed uint32) {
	binary.LittleEndian.PutUint16(block[4:], blockSize)
	putIndexEntries(block, nodeEntries, nodeLimit, entries, seed)
}

// putIndexEntries writes limit, count and entries at offset at, and the
// checksum. The first entry has no hash: limit and count are in its place.
func putIndexEntries(block []byte, at, limit int, entries []indexEntry, seed uint32) {
	le := binary.LittleEndian
	for i, e := range entries {
		le.PutUint32(block[at+8*i:], e.hash)
		le.PutUint32(block[at+8*i+4:], e.block)
	}
	le.PutUint16(block[at:], uint16(limit))
	le.PutUint16(block[at+2:], uint16(len(entries)))
	tail := block[at+8*limit:]
	sum := crc32c(seed, block[:at+8*len(entries)])
	le.PutUint32(tail[4:], crc32c(sum, make([]byte, 8))) // reserved word, and the checksum as zero
}
