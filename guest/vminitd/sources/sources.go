// Package sources mounts what a container finds from elsewhere, shares of the host and volumes, where bind mounts of its runtime spec look for them. Where
// they go in the container's root is the business of package helper.
package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/idmap"
	"github.com/vzctl/vzctl/guest/vminitd/copytree"
	"github.com/vzctl/vzctl/guest/vminitd/rootfs"
)

// Source is a share or a volume.
type Source struct {
	Name   string
	Share  *Share
	Volume *Volume
}

// Share is a directory of the host.
type Share struct {
	Tag, Type string
	ReadOnly  bool
}

// Volume is a disk, of which the container finds the directory volumeData.
type Volume struct {
	Serial, FileSystem string
	ReadOnly           bool
	Journal            string
	CopyFrom           string // a path in the container's root; "": nothing is copied
}

// Directory is where sources are below the container's directory, by their names: what a relative source of a bind mount begins with.
const Directory = "sources"

const (
	disks       = "disks" // where the disks of volumes are mounted
	volumeData  = "data"  // a disk may have more in its root, like lost+found
	volumeDraft = ".data" // of what is being copied
	maxSources  = 64
)

const (
	maxName   = 31
	nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
)

// Set is what is mounted.
type Set struct {
	dir     string
	mounts  []string          // in the order they were made
	written []string          // where the disks of volumes that can be written to are mounted
	devices map[string]string // of volumes, by name
}

// Root is a container's root, in which nothing runs yet. If it shows ids as a user namespace has them, IDs are its maps: volumes have the ids of images.
type Root struct {
	Path string
	IDs  *idmap.Maps
}

// Mount mounts the sources below dir. find returns the device of a disk. What a failed Mount made is gone.
func Mount(ctx context.Context, dir string, root Root, list []Source, find func(ctx context.Context, serial string) (string, error)) (_ *Set, err error) {
	set := &Set{dir: dir, devices: map[string]string{}}
	if len(list) == 0 {
		return set, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, set.Unmount())
		}
	}()
	if len(list) > maxSources {
		return nil, fmt.Errorf("%d mounts; there may be %d", len(list), maxSources)
	}
	for _, name := range []string{Directory, disks} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	for _, s := range list {
		if err := set.mountSource(ctx, s, root, find); err != nil {
			return nil, fmt.Errorf("%.40s: %w", s.Name, err)
		}
	}
	return set, nil
}

func (s *Set) mountSource(ctx context.Context, source Source, root Root, find func(context.Context, string) (string, error)) error {
	if source.Name == "" || len(source.Name) > maxName || strings.Trim(source.Name, nameBytes) != "" {
		return errors.New("it is no name of a mount")
	}
	at := filepath.Join(s.dir, Directory, source.Name)
	switch {
	case source.Share != nil && source.Volume == nil:
		return s.mountShare(*source.Share, at)
	case source.Volume != nil && source.Share == nil:
		device, err := find(ctx, source.Volume.Serial)
		if err != nil {
			return err
		}
		s.devices[source.Name] = device
		return s.mountVolume(*source.Volume, device, filepath.Join(s.dir, disks, source.Name), at, root)
	}
	return errors.New("it is neither a share nor a volume")
}

// ninePOptions: a guest's users are checked by the guest's kernel ("client"), which knows them; nothing but what is mapped into memory is kept in the guest, so that
// both sides see at once what the other writes; messages are as long as the device takes them.
const ninePOptions = "trans=virtio,version=9p2000.L,access=client,cache=mmap,msize=512000"

func (s *Set) mountShare(share Share, at string) error {
	if strings.ContainsAny(share.Tag, ",\x00") || share.Tag == "" {
		return fmt.Errorf("tag %.40q is not possible", share.Tag)
	}
	options := map[string]string{"9p": ninePOptions, "virtiofs": ""}
	data, known := options[share.Type]
	if !known {
		return fmt.Errorf("shares of type %.40q are not supported", share.Type)
	}
	var flags uintptr = unix.MS_NODEV // the host's devices have numbers that mean something else here
	if share.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	return s.mount(share.Tag, at, share.Type, flags, data)
}

func (s *Set) mountVolume(v Volume, device, disk, at string, root Root) error {
	if v.FileSystem != "" && v.FileSystem != "ext4" {
		return fmt.Errorf("file system %.40q is not supported", v.FileSystem)
	}
	data, err := rootfs.JournalOption(v.Journal)
	if err != nil {
		return err
	}
	var flags uintptr
	if v.ReadOnly {
		flags = unix.MS_RDONLY
	}
	if err := s.mount(device, disk, "ext4", flags, data); err != nil {
		if v.ReadOnly && errors.Is(err, unix.EROFS) {
			err = errors.New("it was not unmounted in order, and can be used read-only after it was used once as usual")
		}
		return err
	}
	if !v.ReadOnly {
		s.written = append(s.written, disk)
	}
	content := filepath.Join(disk, volumeData)
	if err := fill(v, disk, content, root); err != nil {
		return err
	}
	return s.mount(content, at, "", unix.MS_BIND, "")
}

// fill gives a new volume its directory. It appears with all that belongs in it, or not at all.
func fill(v Volume, disk, content string, root Root) error {
	// Another guest may have left anything on the disk.
	info, err := os.Lstat(content)
	isNew := errors.Is(err, os.ErrNotExist)
	if err != nil && !isNew {
		return err
	}
	if !isNew && !info.IsDir() {
		return errors.New("what should be the directory of its files is none")
	}
	if !isNew && v.CopyFrom == "" {
		return nil
	}
	used := false
	if !isNew {
		if used, err = hasEntries(content); err != nil {
			return err
		}
	}
	if used {
		return nil
	}
	if v.ReadOnly {
		if isNew {
			return errors.New("nothing was ever written to it, so that it cannot be used read-only")
		}
		return nil
	}
	draft := filepath.Join(disk, volumeDraft)
	if err := os.RemoveAll(draft); err != nil {
		return err
	}
	if err := os.Mkdir(draft, 0o755); err != nil {
		return err
	}
	if v.CopyFrom != "" {
		if err := copytree.FromRoot(root.Path, v.CopyFrom, draft, root.IDs); err != nil {
			return fmt.Errorf("copy %s of the image to it: %w", v.CopyFrom, err)
		}
	}
	if err := unix.Rename(draft, content); err != nil { // over an empty directory, if there is one
		return err
	}
	file, err := os.Open(disk)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(file.Fd())), file.Close())
}

func hasEntries(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return false, f.Close()
	}
	return err == nil, errors.Join(err, f.Close())
}

func (s *Set) mount(source, at, kind string, flags uintptr, options string) error {
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(source, at, kind, flags, options); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	s.mounts = append(s.mounts, at)
	return nil
}

// Path returns what a relative source of a bind mount means: a source, or a file in it. Links do not count.
func (s *Set) Path(source string) (string, error) {
	path := filepath.Join(s.dir, source)
	below, err := filepath.Rel(filepath.Join(s.dir, Directory), path)
	if err != nil || below == "." || !filepath.IsLocal(below) {
		return "", fmt.Errorf("%q is not below %s", source, Directory)
	}
	for at := path; at != s.dir; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return "", err
		}
		if info.Mode().Type() == os.ModeSymlink {
			return "", fmt.Errorf("%s is a link", source)
		}
	}
	return path, nil
}

// Device returns the device of a volume, or "" if there is none of that name.
func (s *Set) Device(name string) string { return s.devices[name] }

// Written returns where the disks of volumes are mounted that can be written to.
func (s *Set) Written() []string { return s.written }

// Empty reports whether nothing is mounted. A nil set is empty.
func (s *Set) Empty() bool { return s == nil || len(s.mounts) == 0 }

// Unmount unmounts all in reverse. No process may use them any more. It may be called again after an error.
func (s *Set) Unmount() error {
	for len(s.mounts) > 0 {
		at := s.mounts[len(s.mounts)-1]
		if err := unix.Unmount(at, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", filepath.Base(at), err)
		}
		s.mounts = s.mounts[:len(s.mounts)-1]
	}
	return nil
}
