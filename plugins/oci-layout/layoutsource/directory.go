package layoutsource

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/sdk/fault"
)

// openFiles opens a directory or a tar file.
func openFiles(path string) (files, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, err
		}
		return directory{root}, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // opening a FIFO would wait for a writer
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &fault.Error{Reason: fault.Invalid, Op: "open", Subject: path, Cause: errors.New("it is neither a directory nor a file")}
	}
	var t *tarFile
	if err == nil {
		t, err = indexTar(f, info.Size())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

// directory is a layout whose links lead nowhere outside it: os.Root sees to that.
type directory struct{ root *os.Root }

func (d directory) open(name string) (io.ReadCloser, error) {
	f, err := d.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fault.Error{Reason: fault.Invalid, Op: "open", Subject: name, Cause: fmt.Errorf("it is not a regular file but %s", info.Mode().Type())}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d directory) close() { _ = d.root.Close() } // nothing was written
