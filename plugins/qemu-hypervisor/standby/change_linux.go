package standby

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// change is what mounting an empty layer changes of it. Who asks for a copy makes it, as the layer is its own: it has the layer's locks then, and looks once more whether it is as it was made.
type change struct {
	before contents
	blocks []block // in the order in which they are written
}

type block struct {
	number int64
	data   []byte
}

// changeOf sorts the blocks so that a layer is one that any kernel mounts whenever the writing ends: first the journal's but its own superblock, so that nobody looks there yet; then the file system's, which says that the journal is to be replayed; then the
// journal's, since when it is; and then what a replay would write as well.
func changeOf(before, after contents, j journal) change {
	c := change{before: before}
	for number, data := range after.blocks {
		if !bytes.Equal(data, before.blocks[number]) {
			c.blocks = append(c.blocks, block{number, data})
		}
	}
	for number := range before.blocks {
		if after.blocks[number] == nil {
			c.blocks = append(c.blocks, block{number, make([]byte, blockSize)})
		}
	}
	rank := func(number int64) int {
		switch {
		case len(j) > 0 && number == j[0].first:
			return 2
		case j.has(number):
			return 0
		case number == 0:
			return 1
		}
		return 3
	}
	slices.SortFunc(c.blocks, func(x, y block) int {
		return cmp.Or(cmp.Compare(rank(x.number), rank(y.number)), cmp.Compare(x.number, y.number))
	})
	return c
}

// file returns the change as a file in memory that nobody can write to, which is the caller's.
func (c change) file() (*os.File, error) {
	fd, err := unix.MemfdCreate("layer", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "layer")
	put := binary.LittleEndian.AppendUint64
	text := put(put(put(nil, uint64(c.before.size)), uint64(len(c.before.blocks))), uint64(len(c.blocks)))
	for number, data := range c.before.blocks {
		text = append(put(text, uint64(number)), data...)
	}
	for _, b := range c.blocks {
		text = append(put(text, uint64(b.number)), b.data...)
	}
	_, err = file.Write(text)
	if err == nil {
		_, err = unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Of the file: three numbers at its beginning, and then blocks, each after its number.
const (
	numberSize  = 8
	headSize    = 3 * numberSize
	entrySize   = numberSize + blockSize
	maxBlocks   = maxLayer / blockSize // that a layer may have before it is mounted, and after
	maxFileSize = headSize + 3*maxBlocks*entrySize
)

// readChange reads what file has written.
func readChange(file *os.File) (c change, err error) {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, maxFileSize+1))
	get := func() (v int64) {
		v, text = int64(binary.LittleEndian.Uint64(text)), text[numberSize:]
		return v
	}
	if err == nil && len(text) >= headSize && len(text) <= maxFileSize {
		size, before, changed := get(), get(), get()
		if before >= 0 && changed >= 0 && before <= maxFileSize && changed <= maxFileSize && int64(len(text)) == (before+changed)*entrySize {
			c.before = contents{size, map[int64][]byte{}}
			for range before {
				number := get()
				c.before.blocks[number], text = text[:blockSize], text[blockSize:]
			}
			for range changed {
				number := get()
				if number < 0 || number >= size/blockSize {
					return change{}, errors.New("what is to be changed lies beyond the layer")
				}
				c.blocks, text = append(c.blocks, block{number, text[:blockSize]}), text[blockSize:]
			}
			return c, nil
		}
	}
	return change{}, errors.Join(errors.New("what is to be changed of the layer is damaged"), err)
}

// make writes the change to a layer that nobody else writes to. Whatever fails, the layer is one that can be mounted.
func (c change) make(file *os.File) error {
	now, err := contentsOf(file)
	if err == nil && !now.equal(c.before) {
		err = errors.New("it has changed meanwhile")
	}
	if err != nil {
		return fmt.Errorf("look at the layer: %w", err)
	}
	for _, b := range c.blocks {
		if _, err := file.WriteAt(b.data, b.number*blockSize); err != nil {
			return fmt.Errorf("write to the layer: %w", err)
		}
	}
	return nil
}

// journal is where a file system's is: pieces, of which the first begins with the journal's superblock.
type journal []piece

// piece is of blocks.
type piece struct{ first, count int64 }

func (j journal) has(number int64) bool {
	return slices.ContainsFunc(j, func(p piece) bool { return number >= p.first && number < p.first+p.count })
}

// Of an ext4 superblock, its journal's copied inode and that one's extents: the kernel's Documentation/filesystems/ext4.
const (
	superblockAt   = 1024
	superblockSize = 1024
	ext4Magic      = 0xef53
	extentMagic    = 0xf30a
	logBlockSize   = 2 // of 4 KiB
	maxExtent      = 32768
	maxExtents     = 4
)

// journalOf returns the journal of an ext4 file system that was never mounted; false if it is none such, or its journal is in many pieces.
func journalOf(c contents) (j journal, ok bool) {
	first := c.blocks[0]
	if first == nil {
		return nil, false
	}
	sb := first[superblockAt:][:superblockSize]
	u16, u32 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32
	mountTime, mountCount := u32(sb[0x2c:]), u16(sb[0x34:])
	if u16(sb[0x38:]) != ext4Magic || u32(sb[0x18:]) != logBlockSize || mountTime != 0 || mountCount != 0 {
		return nil, false
	}
	tree := sb[0x10c:] // a header, and as many extents as fit into an inode
	entries, depth := int(u16(tree[2:])), u16(tree[6:])
	if u16(tree) != extentMagic || entries < 1 || entries > maxExtents || depth != 0 {
		return nil, false
	}
	for i := range entries {
		extent := tree[12*(i+1):]
		p := piece{int64(u16(extent[6:]))<<32 | int64(u32(extent[8:])), int64(u16(extent[4:]))}
		if p.first <= 0 || p.count < 1 || p.count > maxExtent || p.first+p.count > c.size/blockSize {
			return nil, false
		}
		j = append(j, p)
	}
	return j, u32(tree[12:]) == 0
}
