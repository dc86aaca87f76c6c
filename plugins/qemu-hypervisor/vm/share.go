package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// QEMU shares directories. A shared file is put into one of its own, where a guest finds nothing beside it: by another name for the file (a hard link) or,
// where that cannot be, by a bind mount that only QEMU sees.

// bind is a file that QEMU is to find at another path, where there is an empty one.
type bind struct{ from, to string }

// checkShare wants a directory or a file that QEMU may open.
func checkShare(share hypervisor.Share) error {
	info, err := os.Stat(share.Path) // before opening, which waits on a FIFO
	if err != nil {
		return err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return errors.New("neither a directory nor a regular file")
	}
	mode := os.O_RDONLY
	if info.Mode().IsRegular() && !share.ReadOnly {
		mode = os.O_RDWR
	}
	file, err := os.OpenFile(share.Path, mode, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

// shared returns the spec with the directories that QEMU shares.
func shared(s hypervisor.Spec) (hypervisor.Spec, []bind, error) {
	var binds []bind
	shares := make([]hypervisor.Share, len(s.Shares))
	for i, share := range s.Shares {
		path, err := filepath.EvalSymlinks(share.Path)
		if err != nil {
			return s, nil, badFile("share", share.Path, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return s, nil, badFile("share", share.Path, err)
		}
		shares[i] = share
		shares[i].Path = path
		if info.IsDir() || share.Type == hypervisor.ShareVirtioFS { // see startDaemons
			continue
		}
		dir := machine.ShareDir(s, i)
		file := filepath.Join(dir, hypervisor.ShareFile)
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
			return s, nil, err
		}
		err = os.Link(path, file)
		switch {
		case errors.Is(err, syscall.EXDEV) && os.Geteuid() == 0:
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				return s, nil, err
			}
			binds = append(binds, bind{path, file})
		case errors.Is(err, syscall.EXDEV):
			return s, nil, badFile("share", share.Path, fmt.Errorf("a single file has to lie on the file system of %s; share its directory instead", s.StateDir))
		case err != nil:
			return s, nil, badFile("share", share.Path, fmt.Errorf("it cannot get another name: %w", err))
		}
		shares[i].Path = dir
	}
	s.Shares = shares
	return s, binds, nil
}

// unshare removes what shared and startDaemons have made. Of a file a name goes, not the file.
func unshare(s hypervisor.Spec) (err error) {
	for i := range s.Shares {
		err = errors.Join(err, os.RemoveAll(machine.ShareDir(s, i)))
	}
	return err
}
