package ext4

import "hash/crc32"

// crc32c continues a CRC-32C the way ext4 does: without the inversions at
// start and end that hash/crc32 applies. That makes its table once, here rather than in every process that has this package and may not need it.
func crc32c(seed uint32, b []byte) uint32 {
	return ^crc32.Update(^seed, crc32.MakeTable(crc32.Castagnoli), b)
}

// crc32cLE32 continues seed over a little-endian word.
func crc32cLE32(seed, v uint32) uint32 {
	return crc32c(seed, []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
}

// checksumSeed is what all metadata checksums of a file system start from.
func checksumSeed(uuid [16]byte) uint32 { return crc32c(^uint32(0), uuid[:]) }

// inodeSeed is what checksums of an inode and of the blocks it owns start from.
func inodeSeed(fsSeed, ino, generation uint32) uint32 {
	return crc32cLE32(crc32cLE32(fsSeed, ino), generation)
}
