package ext4

import (
	"encoding/binary"
	"time"
)

const (
	inodeFlagIndex    = 0x1000
	inodeFlagHugeFile = 0x40000
	inodeFlagExtents  = 0x80000
	inodeFlagEAInode  = 0x200000
	inodeFlagInline   = 0x10000000
	inodeFlagEncrypt  = 0x800
	inodeFlagCasefold = 0x40000000
	inodeFlagVerity   = 0x100000

	goodOldInodeSize = 128
	inodeXattrOffset = goodOldInodeSize + extraIsize
	inodeXattrSpace  = inodeSize - inodeXattrOffset
)

// inode is struct ext4_inode without what nobody here uses.
type inode struct {
	mode       uint16
	links      uint16
	uid, gid   uint32
	size       uint64
	sectors    uint64 // 512-byte units, of data and of the inode's own metadata blocks
	flags      uint32
	generation uint32
	modTime    time.Time
	xattrBlock uint64
	block      [inodeBlockArea]byte
	xattrs     []byte // area behind the fixed fields, magic included
}

// encode fills the 256 bytes of b, checksum included.
func (in *inode) encode(b []byte, fsSeed, ino uint32) {
	le := binary.LittleEndian
	le.PutUint16(b[0x00:], in.mode)
	le.PutUint16(b[0x02:], uint16(in.uid))
	le.PutUint32(b[0x04:], uint32(in.size))
	sec, extra := encodeTime(in.modTime)
	for _, at := range []int{0x08, 0x0C, 0x10, 0x90} { // access, change, modification, birth
		le.PutUint32(b[at:], sec)
	}
	for _, at := range []int{0x84, 0x88, 0x8C, 0x94} {
		le.PutUint32(b[at:], extra)
	}
	le.PutUint16(b[0x18:], uint16(in.gid))
	le.PutUint16(b[0x1A:], in.links)
	le.PutUint32(b[0x1C:], uint32(in.sectors))
	le.PutUint32(b[0x20:], in.flags)
	copy(b[0x28:], in.block[:])
	le.PutUint32(b[0x64:], in.generation)
	le.PutUint32(b[0x68:], uint32(in.xattrBlock))
	le.PutUint32(b[0x6C:], uint32(in.size>>32))
	le.PutUint16(b[0x74:], uint16(in.sectors>>32))
	le.PutUint16(b[0x76:], uint16(in.xattrBlock>>32))
	le.PutUint16(b[0x78:], uint16(in.uid>>16))
	le.PutUint16(b[0x7A:], uint16(in.gid>>16))
	le.PutUint16(b[0x80:], extraIsize)
	copy(b[inodeXattrOffset:inodeSize], in.xattrs)
	sum := inodeChecksum(b[:inodeSize], fsSeed, ino, in.generation)
	le.PutUint16(b[0x7C:], uint16(sum))
	le.PutUint16(b[0x82:], uint16(sum>>16))
}

// inodeChecksum computes the checksum of raw as if its two halves were zero.
func inodeChecksum(raw []byte, fsSeed, ino, generation uint32) uint32 {
	var zero [2]byte
	sum := inodeSeed(fsSeed, ino, generation)
	sum = crc32c(sum, raw[:0x7C])
	sum = crc32c(sum, zero[:])
	sum = crc32c(sum, raw[0x7E:goodOldInodeSize])
	if len(raw) == goodOldInodeSize {
		return sum
	}
	sum = crc32c(sum, raw[0x80:0x82])
	if binary.LittleEndian.Uint16(raw[0x80:]) < 4 {
		return crc32c(sum, raw[0x82:])
	}
	sum = crc32c(sum, zero[:])
	return crc32c(sum, raw[0x84:])
}

const (
	minTime = -1 << 31
	maxTime = 1<<34 - 1<<31 - 1
)

// encodeTime splits t into the 32-bit seconds and the word holding two more
// bits of seconds and the nanoseconds. The zero time becomes the epoch.
func encodeTime(t time.Time) (sec, extra uint32) {
	if t.IsZero() {
		return 0, 0
	}
	s, ns := t.Unix(), t.Nanosecond()
	switch {
	case s < minTime:
		s, ns = minTime, 0
	case s > maxTime:
		s, ns = maxTime, 999999999
	}
	epoch := uint32((s-int64(int32(s)))>>32) & 3
	return uint32(s), uint32(ns)<<2 | epoch
}

func decodeTime(sec, extra uint32) time.Time {
	return time.Unix(int64(int32(sec))+int64(extra&3)<<32, int64(extra>>2)).UTC()
}

// encodeDevice stores a device number the way the kernel does, in the first word
// if it is of the old 8+8 bit kind, else in the second.
func encodeDevice(major, minor uint32) (area [inodeBlockArea]byte) {
	if major < 256 && minor < 256 {
		binary.LittleEndian.PutUint32(area[0:], major<<8|minor)
	} else {
		binary.LittleEndian.PutUint32(area[4:], minor&0xff|major<<8|(minor&^0xff)<<12)
	}
	return area
}

func decodeDevice(area []byte) (major, minor uint32) {
	if old := binary.LittleEndian.Uint32(area[0:]); old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	dev := binary.LittleEndian.Uint32(area[4:])
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}
