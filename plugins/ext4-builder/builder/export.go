package builder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/plugins/ext4-builder/overlay"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// Where the guest keeps the parts of an overlay on a writable layer.
const (
	upperDir = "upper"
	workDir  = "work"
	indexDir = "work/index"
)

// Export writes a tar to a new file, or to a FIFO, whose reader it waits for. The total of the progress is not known.
func (Builder) Export(ctx context.Context, request rootfs.ExportRequest, report progress.Func) (sizeBytes int64, err error) {
	const op = "export disks to"
	if len(request.Disks) == 0 {
		return 0, &fault.Error{Reason: fault.Invalid, Op: op, Subject: request.OutputPath, Cause: errors.New("there are no disks")}
	}
	if err := absolute(request.OutputPath); err != nil {
		return 0, &fault.Error{Reason: fault.Invalid, Op: op, Subject: request.OutputPath, Cause: err}
	}
	disks, closeAll, err := openDisks(request.Disks)
	defer func() { err = errors.Join(err, closeAll()) }()
	if err != nil {
		return 0, failed(op, request.OutputPath, "", err)
	}
	out, isNew, err := openOutput(ctx, request.OutputPath)
	if err != nil {
		return 0, failed(op, request.OutputPath, "", err)
	}
	// A reader of a FIFO that takes nothing must not keep us from noticing that the caller is gone. Files have no deadlines.
	stop := context.AfterFunc(ctx, func() { _ = out.SetWriteDeadline(unixEpoch) })
	defer stop()

	counted := &counter{out: out, report: report, item: filepath.Base(request.OutputPath)}
	err = export(ctx, disks, counted)
	err = errors.Join(err, out.Close())
	if err == nil {
		counted.flush()
		return counted.done, nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if isNew {
		err = errors.Join(err, os.Remove(request.OutputPath))
	}
	return 0, failed(op, request.OutputPath, filepath.Dir(request.OutputPath), err)
}

func export(ctx context.Context, disks []overlay.Disk, out io.Writer) error {
	view, err := overlay.Open(disks)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(out, 256<<10)
	if err := overlay.Tar(ctx, view, buffered); err != nil {
		return err
	}
	return buffered.Flush()
}

// openDisks opens disks as the guest lays them over each other. A layer that no container has written to yet adds nothing.
func openDisks(disks []rootfs.Disk) (opened []overlay.Disk, closeAll func() error, err error) {
	var files []*os.File
	closeAll = func() (err error) {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
		return err
	}
	for _, d := range disks {
		if d.FileSystem != FileSystem {
			return nil, closeAll, fmt.Errorf("%w: disk %q has file system %q", ext4.ErrUnsupported, d.Path, d.FileSystem)
		}
		f, info, err := openDisk(d.Path)
		if err != nil {
			return nil, closeAll, err
		}
		files = append(files, f)
		r, err := ext4.NewReader(f, info.Size())
		if err != nil {
			return nil, closeAll, fmt.Errorf("disk %q: %w", d.Path, err)
		}
		disk := overlay.Disk{FS: r}
		if isLayer(r) {
			used, err := used(r)
			if err != nil {
				return nil, closeAll, fmt.Errorf("disk %q: %w", d.Path, err)
			}
			if !used {
				continue
			}
			disk.Dir, disk.Index = upperDir, indexDir
		}
		opened = append(opened, disk)
	}
	if len(opened) == 0 {
		return nil, closeAll, fmt.Errorf("%w: all disks are layers that were never used", overlay.ErrInvalid)
	}
	return opened, closeAll, nil
}

// used reports whether a layer has been a part of an overlay, which leaves something in its directories. One that has not been has nothing to say, not even of the root's owner.
func used(r *ext4.Reader) (bool, error) {
	root, err := r.Root()
	if err != nil {
		return false, err
	}
	for _, name := range []string{upperDir, workDir} {
		dir, err := r.Lookup(root, name)
		if err != nil {
			return false, err
		}
		if dir == nil {
			continue
		}
		if entries, err := r.ReadDir(dir); err != nil || len(entries) > 0 {
			return true, err
		}
	}
	return false, nil
}

// openOutput makes the file, unless a FIFO is there.
func openOutput(ctx context.Context, path string) (f *os.File, isNew bool, err error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		return f, err == nil, err
	case err != nil:
		return nil, false, err
	case info.Mode().Type() != fs.ModeNamedPipe:
		return nil, false, fmt.Errorf("%q: %w", path, fs.ErrExist)
	}
	f, err = openFIFO(ctx, path)
	return f, false, err
}

// openFIFO waits until somebody reads, or ctx ends: then it reads itself, which ends the wait, also one that has yet to begin.
func openFIFO(ctx context.Context, path string) (*os.File, error) {
	opened := make(chan struct{})
	defer close(opened)
	stop := context.AfterFunc(ctx, func() {
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err == nil {
			<-opened
			_ = unix.Close(fd) // nothing was read
		}
	})
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	for errors.Is(err, unix.EINTR) {
		fd, err = unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	}
	stop()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err := errors.Join(ctx.Err(), unix.SetNonblock(fd, true)); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}
