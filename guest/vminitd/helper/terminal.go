package helper

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// openTerminal makes a terminal of the container's own devpts the controlling one, and sends its master to vminitd. For a first process it is
// /dev/console too.
func openTerminal(socket *os.File, size *specs.Box, uid int, console bool) (stdio []int, err error) {
	master, slave, err := openPair(own, size, uid)
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	if err := unix.IoctlSetInt(slave, unix.TIOCSCTTY, 0); err != nil {
		return nil, fmt.Errorf("take the terminal: %w", err)
	}
	if console {
		if err := bindConsole(master); err != nil {
			return nil, fmt.Errorf("make /dev/console: %w", err)
		}
	}
	if err := unix.Sendmsg(int(socket.Fd()), []byte{MessageTerminal}, unix.UnixRights(master), nil, unix.MSG_NOSIGNAL); err != nil {
		return nil, err
	}
	return []int{slave, slave, slave}, unix.Close(master)
}

// openPair opens both ends of a new terminal.
func openPair(in root, size *specs.Box, uid int) (master, slave int, err error) {
	master, err = in.open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, -1, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(master)
		}
	}()
	var of unix.Statfs_t
	if err := unix.Fstatfs(master, &of); err != nil {
		return -1, -1, err
	}
	if of.Type != unix.DEVPTS_SUPER_MAGIC {
		return -1, -1, errors.New("/dev/pts is not a devpts file system")
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, -1, err
	}
	if size != nil {
		window := &unix.Winsize{Row: uint16(min(size.Height, 0xffff)), Col: uint16(min(size.Width, 0xffff))}
		if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, window); err != nil {
			return -1, -1, fmt.Errorf("size it: %w", err)
		}
	}
	// Not by its name, which the container could have covered.
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, -1, errno
	}
	if err := unix.Fchown(int(peer), uid, -1); err != nil {
		return -1, -1, errors.Join(err, unix.Close(int(peer)))
	}
	return master, int(peer), nil
}

func bindConsole(master int) error {
	number, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return err
	}
	name := "/dev/pts/" + strconv.Itoa(number)
	tree, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	return prepared{fd: tree, destination: "/dev/console"}.place()
}
