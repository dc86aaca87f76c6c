package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrCorrupt is wrapped by every error about an image that contradicts itself.
var ErrCorrupt = errors.New("corrupt ext4 image")

// ErrUnsupported is wrapped by errors about features a Reader does not know.
var ErrUnsupported = errors.New("unsupported ext4 feature")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

const readableIncompat = incompatFiletype | incompatExtents | incompat64Bit | incompatFlexBG |
	incompatCsumSeed | incompatLargeDir

// Reader reads an ext4 file system that nobody writes to. It trusts nothing in
// it: whatever the image says, a call ends, does not panic and needs memory in
// proportion to the data that is really there. Safe for concurrent use if the
// underlying reader is.
type Reader struct {
	r         io.ReaderAt
	sb        *superblock
	seed      uint32
	blockSize int64
	blocks    uint64
	groups    uint32
	descSize  int64
	inodeSize int64
	// newer maps blocks to what an unfinished journal has in their place.
	newer map[uint64]replacement
	// unchecked turns checksums off, so that fuzzing gets behind them.
	unchecked bool
}

// Inode is what a Reader knows of a file.
type Inode struct {
	Number       uint32
	Generation   uint32
	Mode         uint16 // type and permission bits, see [ModeType]
	Links        uint32
	UID, GID     uint32
	Size         int64 // bytes
	ModTime      time.Time
	Major, Minor uint32 // of a device

	flags      uint32
	xattrBlock uint64
	block      [inodeBlockArea]byte
	xattrs     []byte
}

// Type returns the file type bits of the mode.
func (in *Inode) Type() uint16 { return in.Mode & ModeType }

// IsDir reports whether the inode is a directory.
func (in *Inode) IsDir() bool { return in.Type() == ModeDir }

// NewReader opens the file system in the first size bytes of r. A journal left
// by a crash is taken into account, without writing.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) { return newReader(r, size, false) }

func newReader(r io.ReaderAt, size int64, unchecked bool) (*Reader, error) {
	raw := make([]byte, superblockSize)
	if _, err := r.ReadAt(raw, superblockOffset); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, corrupt("no superblock")
		}
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	sb, err := decodeSuperblock(raw)
	if err != nil {
		return nil, err
	}
	fs := &Reader{r: r, sb: sb, seed: sb.csumSeed(), blocks: sb.blocks(), unchecked: unchecked || !sb.hasCsum()}
	if err := fs.checkSuperblock(raw, size); err != nil {
		return nil, err
	}
	if sb.FeatureIncompat&incompatRecover != 0 {
		if err := fs.replay(); err != nil {
			return nil, fmt.Errorf("replay journal: %w", err)
		}
	}
	return fs, nil
}

func (fs *Reader) checkSuperblock(raw []byte, size int64) error {
	sb := fs.sb
	switch {
	case sb.Magic != superblockMagic:
		return corrupt("no ext4 superblock")
	case sb.LogBlockSize > 6:
		return corrupt("block size 1024<<%d", sb.LogBlockSize)
	case !fs.unchecked && crc32c(^uint32(0), raw[:superblockSize-4]) != sb.Checksum:
		return corrupt("superblock checksum")
	}
	if unknown := sb.FeatureIncompat &^ (readableIncompat | incompatRecover); unknown != 0 {
		return fmt.Errorf("%w: incompatible feature bits %#x", ErrUnsupported, unknown)
	}
	fs.blockSize = 1024 << sb.LogBlockSize
	fs.inodeSize, fs.descSize = int64(sb.InodeSize), 32
	if sb.FeatureIncompat&incompat64Bit != 0 {
		fs.descSize = int64(sb.DescSize)
	}
	if sb.RevLevel == 0 {
		fs.inodeSize = goodOldInodeSize
	}
	switch {
	case fs.blocks == 0 || fs.blocks > uint64(size/fs.blockSize):
		return corrupt("%d blocks of %d bytes in %d bytes", fs.blocks, fs.blockSize, size)
	case fs.inodeSize < goodOldInodeSize || fs.inodeSize > fs.blockSize || fs.inodeSize&(fs.inodeSize-1) != 0:
		return corrupt("inode size %d", fs.inodeSize)
	case fs.descSize < 32 || fs.descSize > fs.blockSize || fs.descSize&(fs.descSize-1) != 0:
		return corrupt("group descriptor size %d", fs.descSize)
	case sb.BlocksPerGroup == 0 || int64(sb.BlocksPerGroup) > fs.blockSize*8:
		return corrupt("%d blocks per group", sb.BlocksPerGroup)
	case sb.InodesPerGroup == 0 || int64(sb.InodesPerGroup) > fs.blockSize*8:
		return corrupt("%d inodes per group", sb.InodesPerGroup)
	case uint64(sb.FirstDataBlock) >= fs.blocks:
		return corrupt("first data block %d", sb.FirstDataBlock)
	}
	groups := divUp(fs.blocks-uint64(sb.FirstDataBlock), uint64(sb.BlocksPerGroup))
	if groups > 1<<31 || uint64(sb.InodesCount) > groups*uint64(sb.InodesPerGroup) {
		return corrupt("%d inodes in %d groups", sb.InodesCount, groups)
	}
	fs.groups = uint32(groups)
	return nil
}

// UUID identifies the file system.
func (fs *Reader) UUID() [16]byte { return fs.sb.UUID }

// Label returns the file system's label, which may hold any bytes.
func (fs *Reader) Label() string { return string(bytes.TrimRight(fs.sb.VolumeName[:], "\x00")) }

// Root returns the root directory.
func (fs *Reader) Root() (*Inode, error) {
	root, err := fs.Inode(rootIno)
	if err == nil && !root.IsDir() {
		return nil, corrupt("root is not a directory")
	}
	return root, err
}

// readAt fills b from a byte offset that must lie inside the file system.
func (fs *Reader) readAt(b []byte, offset int64) error {
	end := int64(fs.blocks) * fs.blockSize
	if offset < 0 || offset > end-int64(len(b)) {
		return corrupt("reference to byte %d of %d", offset, end)
	}
	if len(fs.newer) > 0 {
		return fs.readNewer(b, offset)
	}
	if _, err := io.ReadFull(io.NewSectionReader(fs.r, offset, int64(len(b))), b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return corrupt("image is truncated")
		}
		return fmt.Errorf("read image: %w", err)
	}
	return nil
}

// readBlock returns a fresh copy of a block.
func (fs *Reader) readBlock(n uint64) ([]byte, error) {
	if n == 0 || n >= fs.blocks {
		return nil, corrupt("reference to block %d of %d", n, fs.blocks)
	}
	b := make([]byte, fs.blockSize)
	return b, fs.readAt(b, int64(n)*fs.blockSize)
}

// inodeTable returns the first block of a group's inode table.
func (fs *Reader) inodeTable(group uint32) (uint64, error) {
	raw := make([]byte, fs.descSize)
	at := (int64(fs.sb.FirstDataBlock)+1)*fs.blockSize + int64(group)*fs.descSize
	if err := fs.readAt(raw, at); err != nil {
		return 0, err
	}
	if !fs.unchecked && groupChecksum(raw, fs.seed, group) != binary.LittleEndian.Uint16(raw[0x1E:]) {
		return 0, corrupt("checksum of group descriptor %d", group)
	}
	table := uint64(binary.LittleEndian.Uint32(raw[0x08:]))
	if fs.descSize >= 64 {
		table |= uint64(binary.LittleEndian.Uint32(raw[0x28:])) << 32
	}
	if table == 0 || table >= fs.blocks {
		return 0, corrupt("inode table of group %d at block %d", group, table)
	}
	return table, nil
}

// Inode reads inode number ino.
func (fs *Reader) Inode(ino uint32) (*Inode, error) {
	if ino == 0 || ino > fs.sb.InodesCount {
		return nil, corrupt("reference to inode %d of %d", ino, fs.sb.InodesCount)
	}
	table, err := fs.inodeTable((ino - 1) / fs.sb.InodesPerGroup)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, fs.inodeSize)
	if err := fs.readAt(raw, int64(table)*fs.blockSize+int64((ino-1)%fs.sb.InodesPerGroup)*fs.inodeSize); err != nil {
		return nil, err
	}
	return fs.decodeInode(ino, raw)
}

func (fs *Reader) decodeInode(ino uint32, b []byte) (*Inode, error) {
	le := binary.LittleEndian
	in := &Inode{
		Number:     ino,
		Generation: le.Uint32(b[0x64:]),
		Mode:       le.Uint16(b[0x00:]),
		Links:      uint32(le.Uint16(b[0x1A:])),
		UID:        uint32(le.Uint16(b[0x02:])) | uint32(le.Uint16(b[0x78:]))<<16,
		GID:        uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7A:]))<<16,
		Size:       int64(le.Uint32(b[0x04:])) | int64(le.Uint32(b[0x6C:]))<<32,
		flags:      le.Uint32(b[0x20:]),
		xattrBlock: uint64(le.Uint32(b[0x68:])) | uint64(le.Uint16(b[0x76:]))<<32,
	}
	copy(in.block[:], b[0x28:])
	mtime, extra := le.Uint32(b[0x10:]), uint32(0)
	extraSize := 0
	if len(b) > goodOldInodeSize {
		extraSize = int(le.Uint16(b[0x80:]))
		if extraSize%4 != 0 || extraSize > len(b)-goodOldInodeSize {
			return nil, corrupt("inode %d with %d extra bytes", ino, extraSize)
		}
		if extraSize >= 0x8C-goodOldInodeSize {
			extra = le.Uint32(b[0x88:])
		}
		in.xattrs = b[goodOldInodeSize+extraSize:]
	}
	in.ModTime = decodeTime(mtime, extra)
	if t := in.Type(); t == ModeChar || t == ModeBlock {
		in.Major, in.Minor = decodeDevice(in.block[:])
	}
	if !fs.unchecked {
		sum := inodeChecksum(b, fs.seed, ino, in.Generation)
		stored := uint32(le.Uint16(b[0x7C:]))
		if extraSize >= 4 {
			stored |= uint32(le.Uint16(b[0x82:])) << 16
		} else {
			sum &= 0xFFFF
		}
		if sum != stored {
			return nil, corrupt("checksum of inode %d", ino)
		}
	}
	switch {
	case in.Mode == 0 || in.Links == 0:
		return nil, corrupt("inode %d is not in use", ino)
	case in.Size < 0:
		return nil, corrupt("inode %d with size %d", ino, in.Size)
	case in.flags&(inodeFlagInline|inodeFlagEncrypt|inodeFlagVerity|inodeFlagCasefold|inodeFlagEAInode) != 0:
		return nil, fmt.Errorf("%w: inode %d with flags %#x", ErrUnsupported, ino, in.flags)
	}
	return in, nil
}
