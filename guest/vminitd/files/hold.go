package files

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
	fiTrim   = 0xc0185879
)

// Errors of holding a file system.
var (
	ErrFrozen    = errors.New("it is frozen already")
	ErrNotFrozen = errors.New("it is not frozen")
	ErrNoTrim    = errors.New("its disk takes no blocks back")
)

// Freeze writes out all that was written to the file system a directory is on, and has who writes to it wait.
func Freeze(dir string) error {
	err := control(dir, fiFreeze, 0)
	if errors.Is(err, unix.EBUSY) {
		return ErrFrozen
	}
	return err
}

// Thaw ends a Freeze.
func Thaw(dir string) error {
	err := control(dir, fiThaw, 0)
	if errors.Is(err, unix.EINVAL) {
		return ErrNotFrozen
	}
	return err
}

// Trim gives the blocks back that no file uses, of the file system a directory is on. Those of files that have just been removed are used by the journal until it is written out.
func Trim(dir string) error {
	if err := syncfs(dir); err != nil {
		return err
	}
	all := [3]uint64{0, ^uint64(0), 0} // struct fstrim_range
	err := control(dir, fiTrim, uintptr(unsafe.Pointer(&all)))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return ErrNoTrim
	}
	return err
}

func syncfs(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

func control(dir string, request, argument uintptr) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, argument); errno != 0 {
		err = errno
	}
	return errors.Join(err, f.Close())
}
