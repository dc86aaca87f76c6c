package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	journalDescriptor = 1
	journalCommit     = 2
	journalRevoke     = 5

	journalIncompat64Bit  = 0x2
	journalIncompatAsync  = 0x4
	journalIncompatCsumV2 = 0x8
	journalIncompatCsumV3 = 0x10
	journalReadable       = 0x1 | journalIncompat64Bit | journalIncompatAsync | journalIncompatCsumV2 | journalIncompatCsumV3

	tagEscaped  = 0x1
	tagSameUUID = 0x2
	tagLast     = 0x8

	journalHeader = 12
)

// replacement is where the journal holds the newer content of a block.
type replacement struct {
	block uint64 // of the file system
	// escaped blocks begin with the journal's magic number, zeroed in the log.
	escaped bool
}

// journal walks the log of a file system that was not unmounted.
type journal struct {
	fs       *Reader
	extents  []extent
	blocks   uint32 // length, and the first block of the log
	first    uint32
	incompat uint32
	seed     uint32
	revoked  map[uint64]uint32 // last transaction that revoked a block
}

// replay finds the blocks that committed transactions have newer contents of.
// Reads get those from then on; nothing is written.
func (fs *Reader) replay() error {
	in, err := fs.Inode(fs.sb.JournalInum)
	if err != nil {
		return err
	}
	f, err := fs.open(in)
	if err != nil {
		return err
	}
	j := &journal{fs: fs, extents: f.extents, blocks: 1, revoked: make(map[uint64]uint32)}
	sb, err := j.read(0)
	if err != nil {
		return err
	}
	be := binary.BigEndian
	start, sequence := be.Uint32(sb[0x1C:]), be.Uint32(sb[0x18:])
	j.blocks, j.first = be.Uint32(sb[0x10:]), be.Uint32(sb[0x14:])
	if be.Uint32(sb[4:]) == journalSuperblockV2 {
		j.incompat = be.Uint32(sb[0x28:])
	}
	j.seed = crc32c(^uint32(0), sb[0x30:0x40])
	switch {
	case be.Uint32(sb) != journalMagic || int64(be.Uint32(sb[0x0C:])) != fs.blockSize:
		return corrupt("journal superblock")
	case uint64(j.blocks) > extentBlocks(f.extents) || j.first == 0 || j.first >= j.blocks || start >= j.blocks:
		return corrupt("journal of %d blocks, first %d, start %d", j.blocks, j.first, start)
	case j.incompat&^journalReadable != 0:
		return fmt.Errorf("%w: journal with incompatible features %#x", ErrUnsupported, j.incompat)
	case start == 0:
		return nil
	}
	end, err := j.walk(start, sequence, ^uint32(0), nil)
	if err != nil {
		return err
	}
	newer := make(map[uint64]replacement)
	if _, err := j.walk(start, sequence, end, newer); err != nil {
		return err
	}
	fs.newer = newer
	return fs.reloadSuperblock()
}

// reloadSuperblock takes up the superblock as of the last transaction.
func (fs *Reader) reloadSuperblock() error {
	raw := make([]byte, superblockSize)
	if err := fs.readAt(raw, superblockOffset); err != nil {
		return err
	}
	sb, err := decodeSuperblock(raw)
	if err != nil {
		return err
	}
	if sb.LogBlockSize != fs.sb.LogBlockSize {
		return corrupt("block size changed in the journal")
	}
	size := int64(fs.blocks) * fs.blockSize
	fs.sb, fs.seed, fs.blocks = sb, sb.csumSeed(), sb.blocks()
	return fs.checkSuperblock(raw, size)
}

// read returns a block of the log.
func (j *journal) read(n uint32) ([]byte, error) {
	at, err := j.locate(n)
	if err != nil {
		return nil, err
	}
	b := make([]byte, j.fs.blockSize)
	return b, j.fs.readAt(b, int64(at)*j.fs.blockSize)
}

// locate says where on the disk a block of the log is.
func (j *journal) locate(n uint32) (uint64, error) {
	for _, e := range j.extents {
		if n >= e.logical && n-e.logical < e.count {
			return e.physical + uint64(n-e.logical), nil
		}
	}
	return 0, corrupt("hole in the journal at block %d", n)
}

func (j *journal) after(n uint32) uint32 {
	if n++; n >= j.blocks {
		return j.first
	}
	return n
}

// walk goes through the log from block at on. Without newer it finds the end, the
// first transaction that was not committed, and what has been revoked; with newer it
// collects the blocks of the transactions before end.
func (j *journal) walk(at, sequence, end uint32, newer map[uint64]replacement) (uint32, error) {
	be := binary.BigEndian
	for steps := uint32(0); steps < j.blocks && sequence != end; steps++ {
		b, err := j.read(at)
		if err != nil {
			return 0, err
		}
		if be.Uint32(b) != journalMagic || be.Uint32(b[8:]) != sequence {
			break
		}
		at = j.after(at)
		switch be.Uint32(b[4:]) {
		case journalDescriptor:
			tags, err := j.tags(b, at, sequence, newer)
			if err != nil {
				return 0, err
			}
			steps += tags
			for range tags {
				at = j.after(at)
			}
		case journalCommit:
			if !j.commitOK(b) {
				return sequence, nil
			}
			sequence++
		case journalRevoke:
			if newer == nil {
				if err := j.revoke(b, sequence); err != nil {
					return 0, err
				}
			}
		default:
			return sequence, nil
		}
	}
	return sequence, nil
}

func (j *journal) checksummed() bool {
	return j.incompat&(journalIncompatCsumV2|journalIncompatCsumV3) != 0 && !j.fs.unchecked
}

// commitOK tells a commit that reached the disk from one cut off by the crash.
func (j *journal) commitOK(b []byte) bool {
	if !j.checksummed() {
		return true
	}
	sum := crc32c(j.seed, b[:0x10])
	sum = crc32c(sum, make([]byte, 4))
	return crc32c(sum, b[0x14:]) == binary.BigEndian.Uint32(b[0x10:])
}

// tags reads a descriptor: which blocks the log has from block at on. It
// returns how many.
func (j *journal) tags(b []byte, at, sequence uint32, newer map[uint64]replacement) (count uint32, err error) {
	be := binary.BigEndian
	size, limit := 8, len(b)
	v3 := j.incompat&journalIncompatCsumV3 != 0
	if v3 {
		size = 16
	} else if j.incompat&journalIncompat64Bit != 0 {
		size = 12
	}
	if j.incompat&(journalIncompatCsumV2|journalIncompatCsumV3) != 0 {
		limit -= 4 // checksum of the descriptor
	}
	for p := journalHeader; p+size <= limit && count < j.blocks; count++ {
		tag := b[p:]
		block, flags := uint64(be.Uint32(tag)), be.Uint32(tag[4:])
		if !v3 {
			flags &= 0xFFFF
		}
		if j.incompat&journalIncompat64Bit != 0 {
			block |= uint64(be.Uint32(tag[8:])) << 32
		}
		if newer != nil && !j.isRevoked(block, sequence) {
			if block >= j.fs.blocks {
				return 0, corrupt("journal holds block %d of %d", block, j.fs.blocks)
			}
			from, err := j.locate(at)
			if err != nil {
				return 0, err
			}
			newer[block] = replacement{block: from, escaped: flags&tagEscaped != 0}
		}
		at = j.after(at)
		if p += size; flags&tagSameUUID == 0 {
			p += 16
		}
		if flags&tagLast != 0 {
			return count + 1, nil
		}
	}
	return count, nil
}

func (j *journal) isRevoked(block uint64, sequence uint32) bool {
	by, ok := j.revoked[block]
	return ok && int32(by-sequence) >= 0
}

// revoke notes blocks whose older contents in the log must not be used.
func (j *journal) revoke(b []byte, sequence uint32) error {
	be := binary.BigEndian
	used, size := int64(be.Uint32(b[journalHeader:])), int64(4)
	if j.incompat&journalIncompat64Bit != 0 {
		size = 8
	}
	if used > int64(len(b)) {
		return corrupt("revoke record of %d bytes", used)
	}
	for p := int64(journalHeader + 4); p+size <= used; p += size {
		block := uint64(be.Uint32(b[p:]))
		if size == 8 {
			block = be.Uint64(b[p:])
		}
		j.revoked[block] = sequence
	}
	return nil
}

// readNewer reads like readAt, with blocks that the journal has newer contents of.
func (fs *Reader) readNewer(b []byte, offset int64) error {
	for len(b) > 0 {
		block := uint64(offset / fs.blockSize)
		within := offset % fs.blockSize
		n := min(int64(len(b)), fs.blockSize-within)
		at := offset
		r, ok := fs.newer[block]
		if ok {
			at = int64(r.block)*fs.blockSize + within
		}
		if _, err := io.ReadFull(io.NewSectionReader(fs.r, at, n), b[:n]); err != nil {
			return fmt.Errorf("read image: %w", err)
		}
		if ok && r.escaped {
			var magic [4]byte
			binary.BigEndian.PutUint32(magic[:], journalMagic)
			if within < 4 {
				copy(b[:n], magic[within:])
			}
		}
		b, offset = b[n:], offset+n
	}
	return nil
}
