package template

import (
	"os"

	"golang.org/x/sys/unix"
)

// forget takes a file out of the host's cache, as far as nobody has it mapped, so that what is read next comes from the disk.
func forget(file *os.File) {
	_ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
}
