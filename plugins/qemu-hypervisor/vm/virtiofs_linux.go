package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// sharedMemory returns a file with a guest's memory that no file system has, for those who serve the VM a device and have to read and write there.
func sharedMemory(bytes uint64) (*os.File, error) {
	fd, err := unix.MemfdCreate("guest-memory", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "guest-memory")
	if err := file.Truncate(int64(bytes)); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// enclose has this thread, and programs that it starts from now on, find a share at dir, an empty directory. Nobody else does. What is mounted there has no devices and no
// programs with the rights of others, and is read-only, with all that is mounted below it, if the share is: virtiofsd has no privilege with which it could change that.
func enclose(share hypervisor.Share, dir string) error {
	if err := bindFiles(nil); err != nil {
		return err
	}
	source, info, err := openSource(share.Path)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	opened := fmt.Sprintf("/proc/self/fd/%d", source.Fd())
	limits := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID}
	if share.ReadOnly {
		limits.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if info.IsDir() {
		if err := unix.Mount(opened, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return os.NewSyscallError("mount", err)
		}
		// What the host mounts below it from now on must not come here: it would come without these limits.
		if err := unix.Mount("", dir, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return os.NewSyscallError("mount", err)
		}
		return restrict(dir, unix.AT_RECURSIVE, limits)
	}
	// A file is in a directory in which there can never be anything else.
	if err := unix.Mount("share", dir, "tmpfs", 0, "mode=0755,nr_inodes=2,size=4096"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	file := filepath.Join(dir, hypervisor.ShareFile)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	if err := unix.Mount(opened, file, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return errors.Join(restrict(file, 0, limits), restrict(dir, 0, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID}))
}

func restrict(path string, flags uint, limits unix.MountAttr) error {
	if err := unix.MountSetattr(unix.AT_FDCWD, path, flags, &limits); err != nil {
		return fmt.Errorf("restrict what is mounted (Linux 5.12 can): %w", err)
	}
	return nil
}

// openSource opens what is shared, by a path whose links were followed before: who has put a link there since is refused. From here on there is no path to change.
func openSource(path string) (*os.File, os.FileInfo, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if errors.Is(err, unix.ELOOP) {
		return nil, nil, errors.New("a part of its path has just become a link")
	}
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	file := os.NewFile(uintptr(fd), path)
	info, err := file.Stat()
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = errors.New("neither a directory nor a regular file")
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}
