package standby

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Most containers begin with an empty writable layer, and these are equal byte by byte. So a VM that knows an image is copied once more, with such a layer, and its guest mounts the container's root of both. Who asks for a copy with an equal layer gets one of
// that VM, and writes to the layer what mounting has changed on the disk before the guest goes on, so that it finds what it remembers. A layer that differs in anything is mounted by the guest, as ever.

const (
	blockSize = 4 << 10
	// maxLayer is what an empty layer may hold, in bytes; measured 52 KiB, and 100 KiB more once it is mounted.
	maxLayer = 1 << 20
)

// contents are those blocks of a file that are not all zeros, by their number.
type contents struct {
	size   int64 // of the file, in bytes
	blocks map[int64][]byte
}

// errMuch says that a file holds more than an empty layer does.
var errMuch = errors.New("it holds too much")

// contentsOf reads a regular file.
func contentsOf(file *os.File) (c contents, err error) {
	info, err := file.Stat()
	if err != nil {
		return c, err
	}
	if !info.Mode().IsRegular() || info.Size()%blockSize != 0 {
		return c, fmt.Errorf("%s is no disk image", file.Name())
	}
	c = contents{size: info.Size(), blocks: map[int64][]byte{}}
	raw, err := file.SyscallConn()
	if err != nil {
		return c, err
	}
	controlErr := raw.Control(func(fd uintptr) { err = c.read(int(fd)) })
	return c, errors.Join(controlErr, err)
}

// read uses no position of the file's, which others may have too, but for lseek's own.
func (c *contents) read(fd int) error {
	zeros, total := make([]byte, blockSize), 0
	for at := int64(0); at < c.size; {
		begin, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		end, err := unix.Seek(fd, begin, unix.SEEK_HOLE)
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		for at = begin / blockSize * blockSize; at < end; at += blockSize {
			if total += blockSize; total > maxLayer {
				return errMuch
			}
			block := make([]byte, blockSize)
			if n, err := unix.Pread(fd, block, at); err != nil || n != blockSize {
				return errors.Join(err, io.ErrUnexpectedEOF)
			}
			if !bytes.Equal(block, zeros) {
				c.blocks[at/blockSize] = block
			}
		}
	}
	return nil
}

func (c contents) equal(other contents) bool {
	if c.size != other.size || len(c.blocks) != len(other.blocks) {
		return false
	}
	for number, block := range c.blocks {
		if !bytes.Equal(block, other.blocks[number]) {
			return false
		}
	}
	return true
}

// writeTo makes an empty file one with the contents.
func (c contents) writeTo(file *os.File) error {
	if err := file.Truncate(c.size); err != nil {
		return err
	}
	for number, block := range c.blocks {
		if _, err := file.WriteAt(block, number*blockSize); err != nil {
			return err
		}
	}
	return nil
}

// Layer is an empty writable layer.
type Layer struct {
	Fresh
	contents
	journal journal
}

// Write makes an empty file the layer.
func (l *Layer) Write(file *os.File) error { return l.writeTo(file) }

// Mounted is a VM that has mounted a layer.
type Mounted struct {
	Primed
	layer  *Layer
	change *os.File // what that has changed, see change_linux.go; of the Mounted
}

// Changed returns a VM that has mounted the layer and written to file, which was the layer before.
func (l *Layer) Changed(by Primed, file *os.File) (*Mounted, error) {
	now, err := contentsOf(file)
	if err != nil {
		return nil, fmt.Errorf("read the layer that a guest has mounted: %w", err)
	}
	change, err := changeOf(l.contents, now, l.journal).file()
	if err != nil {
		return nil, err
	}
	return &Mounted{by, l, change}, nil
}

// fits reports whether what this VM's guest remembers can be made true of a layer that somebody asks for a copy with. One that is not as it was made, or that somebody uses, cannot.
func (m *Mounted) fits(fresh *Fresh, file *os.File) bool {
	if fresh == nil || *fresh != m.layer.Fresh || inUse(file) {
		return false
	}
	now, err := contentsOf(file)
	return err == nil && now.equal(m.layer.contents) // otherwise it is the asker's to look for what is wrong
}

// layerOf returns the layer that a copy is asked for with; nil if it has none that a guest could have mounted before.
func layerOf(a asking, d Descriptors, sizes []int64) *Layer {
	f := a.request.Fresh
	if f == nil || f.Index < 0 || f.Index >= len(d.Disks) || f.Index >= len(sizes) {
		return nil
	}
	file := a.disk(d, f.Index)
	c, err := contentsOf(file)
	if err != nil || c.size != sizes[f.Index] || inUse(file) {
		return nil
	}
	j, ok := journalOf(c)
	if !ok { // it is of another kind, or was mounted before and may hold somebody's data
		return nil
	}
	return &Layer{*f, c, j}
}

// inUse says whether another VM has locked any of the bytes by which QEMUs tell each other what they do with a disk, or nobody knows.
func inUse(file *os.File) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return true
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	controlErr := raw.Control(func(fd uintptr) { err = unix.FcntlFlock(fd, unix.F_OFD_GETLK, &lock) })
	return err != nil || controlErr != nil || lock.Type != unix.F_UNLCK
}
