package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// turnPatience is how long another plugin may take to end its VM after its supervisor has died.
const turnPatience = 20 * time.Second

// ownDirectory waits until no other plugin has a VM in a directory: one whose supervisor was killed ends its VM, and then removes sockets and shares, which have the names of the next one's. The
// directory is given back when the file is closed, and by the end of the process.
func ownDirectory(ctx context.Context, dir string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	fd := int(file.Fd())
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		if err != nil {
			_ = file.Close()
			return nil, os.NewSyscallError("flock", err)
		}
		return file, nil
	}
	got := make(chan error, 1)
	go func() { got <- unix.Flock(fd, unix.LOCK_EX) }() // ends with the other
	select {
	case err := <-got:
		if err != nil {
			_ = file.Close()
			return nil, os.NewSyscallError("flock", err)
		}
		return file, nil
	case <-ctx.Done():
		go func() { // the other may end after all
			<-got
			_ = file.Close()
		}()
		return nil, fmt.Errorf("another VM is still in %s: %w", dir, ctx.Err())
	}
}
