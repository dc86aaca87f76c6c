// Package rootfs mounts a container's root: read-only disks below, one that takes the writes above, overlayfs over both. What is inside the
// root (proc, dev, ...) is the business of package launch.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/userns"
)

// Disk is a device and what is on it.
type Disk struct {
	Device     string
	FileSystem string // "ext4" or "erofs"; empty: ext4
	Journal    string // of a disk that can be written to, see JournalOption
	Mounted    string // where a read-only one is mounted already, and stays; "": nowhere
}

// JournalOption is the mount option that has ext4 journal file data as "ordered", "writeback" or "journal"; empty: as the kernel does.
func JournalOption(mode string) (string, error) {
	switch {
	case mode == "":
		return "", nil
	case slices.Contains([]string{"ordered", "writeback", "journal"}, mode):
		return "data=" + mode, nil
	}
	return "", fmt.Errorf("journal mode %.40q is not supported", mode)
}

// Root is a mounted root.
type Root struct {
	Path   string   // where the root is mounted
	Lower  []string // where the read-only disks are, the uppermost first
	Top    string   // where what takes the writes is mounted, a disk or memory
	mounts []string // in the order they were made
	disk   bool     // is mounted at Top
}

// overlayOptions are set explicitly whatever the kernel's defaults. Without them renaming a directory of an image fails with EXDEV, the names of a
// hard link part when one is written to, and files of one root differ in st_dev.
const overlayOptions = "redirect_dir=on,index=on,xino=on,metacopy=on"

// maxLower bounds the disks: overlayfs takes its options from one page.
const maxLower = 24

// Mount mounts the root below dir, an existing empty directory. lower is lowest first; still below that is places, a directory that MakePlaces has filled, unless it is "".
// Without an upper disk writes go to memory; the caller makes such a root read-only once it has its mount points. What a failed Mount made is gone. With a user namespace the root shows
// the ids of the disks as that namespace's; where the disks themselves are mounted they are as ever.
func Mount(dir string, lower []Disk, upper *Disk, places string, ns *userns.Namespace) (_ *Root, err error) {
	if len(lower) == 0 || len(lower) > maxLower {
		return nil, fmt.Errorf("%d read-only disks; there must be 1 to %d", len(lower), maxLower)
	}
	root := &Root{Path: filepath.Join(dir, "rootfs")}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Unmount())
		}
	}()
	var layers []string
	for i, d := range lower {
		at := d.Mounted
		if at == "" {
			at = filepath.Join(dir, "lower"+strconv.Itoa(i))
			if err := root.mountDisk(d, at, unix.MS_RDONLY); err != nil {
				return nil, err
			}
		}
		layers = append(layers, at)
	}
	slices.Reverse(layers) // overlayfs wants the uppermost first
	root.Lower = layers
	top := filepath.Join(dir, "upper")
	root.Top = top
	if upper != nil {
		err = root.mountDisk(*upper, top, 0)
		root.disk = true
	} else {
		err = root.mount("tmpfs", top, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700")
	}
	if err != nil {
		return nil, err
	}
	if err := prepareUpper(top, layers[0]); err != nil {
		return nil, fmt.Errorf("prepare the writable layer: %w", err)
	}
	if ns != nil {
		return root, root.mountMapped(dir, layers, top, ns)
	}
	if places != "" {
		layers = append(slices.Clip(layers), places)
	}
	return root, root.mountOverlay(layers, top)
}

func (r *Root) mountOverlay(layers []string, top string) error {
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work,%s", strings.Join(layers, ":"), top, top, overlayOptions)
	return r.mount("overlay", r.Path, "overlay", 0, options)
}

// MountImage mounts an image's disk in an existing directory.
func MountImage(d Disk, at string) error {
	kind, err := d.kind(true)
	if err != nil {
		return err
	}
	if err := unix.Mount(d.Device, at, kind, unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount %s (%s): %w", d.Device, kind, err)
	}
	return nil
}

// kind is that of the disk's file system.
func (d Disk) kind(readOnly bool) (string, error) {
	switch {
	case d.FileSystem == "" || d.FileSystem == "ext4":
		return "ext4", nil
	case d.FileSystem == "erofs" && readOnly:
		return "erofs", nil
	}
	return "", fmt.Errorf("file system %.40q of disk %s is not supported", d.FileSystem, d.Device)
}

func (r *Root) mountDisk(d Disk, at string, flags uintptr) error {
	kind, err := d.kind(flags&unix.MS_RDONLY != 0)
	if err != nil {
		return err
	}
	options, err := JournalOption(d.Journal)
	if err != nil {
		return err
	}
	if kind == "ext4" && flags&unix.MS_RDONLY == 0 { // or a thread of the kernel reads the bitmaps of the whole disk
		options = strings.TrimPrefix(options+",no_prefetch_block_bitmaps", ",")
	}
	return r.mount(d.Device, at, kind, flags, options)
}

func (r *Root) mount(source, at, kind string, flags uintptr, options string) error {
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(source, at, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s (%s): %w", filepath.Base(at), kind, err)
	}
	r.mounts = append(r.mounts, at)
	return nil
}

// prepareUpper makes the directories of a layer, unless it came with them. The root directory's owner and mode are the layer's; a new one has those of the image, and is as old as
// the container.
func prepareUpper(top, image string) error {
	work, upper := filepath.Join(top, "work"), filepath.Join(top, "upper")
	if err := os.Mkdir(work, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	made := os.Mkdir(upper, 0o755)
	if made != nil && !errors.Is(made, os.ErrExist) {
		return made
	}
	if made != nil {
		// An overlay leaves this for good.
		if err := unix.Access(filepath.Join(work, "work"), unix.F_OK); err == nil {
			return nil
		}
		if err := touch(upper); err != nil {
			return err
		}
	}
	var stat unix.Stat_t
	if err := unix.Stat(image, &stat); err != nil {
		return err
	}
	if stat.Uid == 0 && stat.Gid == 0 && stat.Mode&0o7777 == 0o755 {
		return nil // as it was made
	}
	return errors.Join(unix.Chown(upper, int(stat.Uid), int(stat.Gid)), unix.Chmod(upper, stat.Mode&0o7777))
}

func touch(path string) error {
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, now, 0)
}

// Upper is the directory of what was written.
func (r *Root) Upper() string { return filepath.Join(r.Top, "upper") }

// Sync writes out what a root with an upper disk has written.
func (r *Root) Sync() error {
	dir, err := os.Open(r.Top)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(dir.Fd())))
}

// Begin has a new root that was mounted earlier be as old as its container.
func (r *Root) Begin() error { return touch(r.Path) }

// Settle writes out what was written and leaves the disks as Unmount does, but mounted, for a machine that is about to end: to unmount takes several times as long, most of
// it for what nobody will miss. No process may be in the root any more.
func (r *Root) Settle() error {
	if !r.disk {
		return nil
	}
	if err := unix.Mount("", r.Top, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make the writable layer read-only: %w", err)
	}
	return nil
}

// Unmount unmounts the root and its disks in reverse. No process may be in it any more. It may be called again after an error.
func (r *Root) Unmount() error {
	for len(r.mounts) > 0 {
		at := r.mounts[len(r.mounts)-1]
		if err := unix.Unmount(at, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", at, err)
		}
		r.mounts = r.mounts[:len(r.mounts)-1]
	}
	return nil
}
