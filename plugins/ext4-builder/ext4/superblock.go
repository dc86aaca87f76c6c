package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const (
	superblockOffset = 1024
	superblockSize   = 1024
	superblockMagic  = 0xEF53

	blockSize     = 4096
	logBlockSize  = 2 // blockSize == 1024 << logBlockSize
	inodeSize     = 256
	descSize      = 64
	blocksPerGrp  = blockSize * 8
	firstFreeIno  = 11
	rootIno       = 2
	journalIno    = 8
	extraIsize    = 32
	checksumCRC32 = 1

	stateClean     = 1
	errorsContinue = 1
	errorsReadOnly = 2

	hashHalfMD4         = 1
	flagUnsignedHash    = 0x2
	defaultMountXattr   = 0x4
	defaultMountACL     = 0x8
	journalBackupBlocks = 1
)

// Feature bits of the superblock, by the three words that hold them. An
// unknown incompatible bit means that the file system must not be read.
const (
	compatHasJournal   = 0x4
	compatExtAttr      = 0x8
	compatDirIndex     = 0x20
	compatSparseSuper2 = 0x200

	incompatFiletype = 0x2
	incompatRecover  = 0x4
	incompatMetaBG   = 0x10
	incompatExtents  = 0x40
	incompat64Bit    = 0x80
	incompatFlexBG   = 0x200
	incompatCsumSeed = 0x2000
	incompatLargeDir = 0x4000

	roCompatSparseSuper  = 0x1
	roCompatLargeFile    = 0x2
	roCompatHugeFile     = 0x8
	roCompatDirNlink     = 0x20
	roCompatExtraIsize   = 0x40
	roCompatMetadataCsum = 0x400
	roCompatReadOnly     = 0x1000
)

// superblock is struct ext4_super_block, field for field.
type superblock struct {
	InodesCount       uint32
	BlocksCountLo     uint32
	RBlocksCountLo    uint32
	FreeBlocksCountLo uint32
	FreeInodesCount   uint32
	FirstDataBlock    uint32
	LogBlockSize      uint32
	LogClusterSize    uint32
	BlocksPerGroup    uint32
	ClustersPerGroup  uint32
	InodesPerGroup    uint32
	MountTime         uint32
	WriteTime         uint32
	MountCount        uint16
	MaxMountCount     uint16
	Magic             uint16
	State             uint16
	Errors            uint16
	MinorRevLevel     uint16
	LastCheck         uint32
	CheckInterval     uint32
	CreatorOS         uint32
	RevLevel          uint32
	DefResUID         uint16
	DefResGID         uint16
	FirstIno          uint32
	InodeSize         uint16
	BlockGroupNr      uint16
	FeatureCompat     uint32
	FeatureIncompat   uint32
	FeatureROCompat   uint32
	UUID              [16]byte
	VolumeName        [16]byte
	LastMounted       [64]byte
	AlgoBitmap        uint32
	PreallocBlocks    uint8
	PreallocDirBlocks uint8
	ReservedGDTBlocks uint16
	JournalUUID       [16]byte
	JournalInum       uint32
	JournalDev        uint32
	LastOrphan        uint32
	HashSeed          [4]uint32
	DefHashVersion    uint8
	JnlBackupType     uint8
	DescSize          uint16
	DefaultMountOpts  uint32
	FirstMetaBG       uint32
	MkfsTime          uint32
	JnlBlocks         [17]uint32
	BlocksCountHi     uint32
	RBlocksCountHi    uint32
	FreeBlocksCountHi uint32
	MinExtraIsize     uint16
	WantExtraIsize    uint16
	Flags             uint32
	RaidStride        uint16
	MMPInterval       uint16
	MMPBlock          uint64
	RaidStripeWidth   uint32
	LogGroupsPerFlex  uint8
	ChecksumType      uint8
	EncryptionLevel   uint8
	ReservedPad       uint8
	KBytesWritten     uint64
	SnapshotInum      uint32
	SnapshotID        uint32
	SnapshotRBlocks   uint64
	SnapshotList      uint32
	ErrorCount        uint32
	FirstErrorTime    uint32
	FirstErrorIno     uint32
	FirstErrorBlock   uint64
	FirstErrorFunc    [32]byte
	FirstErrorLine    uint32
	LastErrorTime     uint32
	LastErrorIno      uint32
	LastErrorLine     uint32
	LastErrorBlock    uint64
	LastErrorFunc     [32]byte
	MountOpts         [64]byte
	UsrQuotaInum      uint32
	GrpQuotaInum      uint32
	OverheadBlocks    uint32
	BackupBGs         [2]uint32
	EncryptAlgos      [4]byte
	EncryptPwSalt     [16]byte
	LpfIno            uint32
	PrjQuotaInum      uint32
	ChecksumSeed      uint32
	TimesHi           [8]byte
	Encoding          uint16
	EncodingFlags     uint16
	OrphanFileInum    uint32
	Reserved          [94]uint32
	Checksum          uint32
}

// encode returns the 1024 bytes of the superblock with its checksum set.
func (s *superblock) encode() ([]byte, error) {
	b := make([]byte, superblockSize)
	s.Checksum = 0
	if _, err := binary.Encode(b, binary.LittleEndian, s); err != nil {
		return nil, fmt.Errorf("encode superblock: %w", err)
	}
	s.Checksum = crc32c(^uint32(0), b[:superblockSize-4])
	binary.LittleEndian.PutUint32(b[superblockSize-4:], s.Checksum)
	return b, nil
}

func decodeSuperblock(b []byte) (*superblock, error) {
	var s superblock
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &s); err != nil {
		return nil, fmt.Errorf("decode superblock: %w", err)
	}
	return &s, nil
}

func (s *superblock) blocks() uint64 {
	return uint64(s.BlocksCountHi)<<32 | uint64(s.BlocksCountLo)
}

func (s *superblock) hasCsum() bool { return s.FeatureROCompat&roCompatMetadataCsum != 0 }

// csumSeed is the seed of all metadata checksums: normally derived from the
// UUID, stored when the UUID was changed after the fact.
func (s *superblock) csumSeed() uint32 {
	if s.FeatureIncompat&incompatCsumSeed != 0 {
		return s.ChecksumSeed
	}
	return checksumSeed(s.UUID)
}
