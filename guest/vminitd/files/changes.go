package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/archive"
	"github.com/vzctl/vzctl/guest/idmap"
)

// Layers are a root that is laid of several, as package rootfs mounts it.
type Layers struct {
	Merged string
	Upper  string
	Lower  []string // the uppermost first
	// Placeholders are paths that vminitd makes to mount something over: as long as nothing is there they are no change.
	Placeholders map[string]bool
	// IDs are the maps of a user namespace that Merged is shown with; nil: it has the ids of the disks.
	IDs *idmap.Maps
}

// Kind of a Change.
type Kind byte

// The kinds.
const (
	Added   Kind = 'A'
	Changed Kind = 'C'
	Deleted Kind = 'D'
)

// Change is something in the upper layer.
type Change struct {
	Kind Kind
	Path string // absolute
	// opaque: of a directory nothing that was in it before is left but what follows. tree: it was renamed, and all below is as in the merged root.
	opaque, tree bool
}

// maxChanges bounds what is kept of them in memory.
const maxChanges = 500_000

// maxPaths bounds their paths, in bytes: those of deep directories are long.
const maxPaths = 64 << 20

var errTooMany = errors.New("the container has changed too many files to list them")

// Names of the attributes in which overlayfs keeps what it knows.
const (
	xattrOpaque   = "trusted.overlay.opaque"
	xattrRedirect = "trusted.overlay.redirect"
)

// Changes lists what the upper layer has changed of those below, directories before what is in them. What changes meanwhile may be missed.
func (l Layers) Changes(ctx context.Context) ([]Change, error) {
	upper, err := os.OpenRoot(l.Upper)
	if err != nil {
		return nil, err
	}
	defer upper.Close() // only read
	c := &comparison{Layers: l, ctx: ctx}
	_, err = c.directory(upper, "/", false)
	return c.changes, err
}

type comparison struct {
	Layers
	ctx     context.Context
	changes []Change
	bytes   int // of their paths
}

func (c *comparison) add(change Change) error {
	if c.bytes += len(change.Path); c.bytes > maxPaths || len(c.changes) == maxChanges {
		return errTooMany
	}
	c.changes = append(c.changes, change)
	return c.ctx.Err()
}

// directory compares what is in a directory of the upper layer. fresh says that nothing of the lower layers is in it. It tells whether there was a placeholder.
func (c *comparison) directory(dir *os.Root, at string, fresh bool) (placeholder bool, err error) {
	err = archive.Each(dir, func(name string) error {
		skipped, err := c.entry(dir, name, path.Join(at, name), fresh)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		placeholder = placeholder || skipped
		return nil
	})
	return placeholder, err
}

func (c *comparison) entry(dir *os.Root, name, at string, fresh bool) (placeholder bool, err error) {
	info, err := dir.Lstat(name)
	if err != nil {
		return false, err
	}
	below := c.lower(at)
	if fresh {
		below = nil
	}
	kind := Changed
	if below == nil {
		kind = Added
	}
	switch {
	case isWhiteout(info):
		if below == nil {
			return false, nil
		}
		return false, c.add(Change{Kind: Deleted, Path: at})
	case kind == Added && c.Placeholders[at] && (info.Mode().IsRegular() && info.Size() == 0):
		return true, nil
	case !info.IsDir():
		return false, c.add(Change{Kind: kind, Path: at})
	}
	sub, err := dir.OpenRoot(name + "/.") // OpenRoot of what has become a FIFO would wait
	if err != nil {
		return false, err
	}
	defer sub.Close() // only read
	return c.subdirectory(sub, at, info, below)
}

func (c *comparison) subdirectory(dir *os.Root, at string, info, below fs.FileInfo) (placeholder bool, err error) {
	attrs, err := overlayAttributes(dir)
	if err != nil {
		return false, err
	}
	mine := Change{Kind: Changed, Path: at, opaque: attrs.opaque, tree: attrs.redirected}
	merges := below != nil && below.IsDir()
	if !merges {
		mine.Kind, mine.opaque = Added, false
	}
	if mine.tree {
		mine.opaque = merges
		return false, c.add(mine)
	}
	index := len(c.changes)
	if err := c.add(mine); err != nil {
		return false, err
	}
	if mine.opaque {
		if err := c.hidden(dir, at); err != nil {
			return false, err
		}
	}
	placeholder, err = c.directory(dir, at, !merges || mine.opaque)
	if err != nil || len(c.changes) > index+1 {
		return false, err
	}
	empty, err := isEmpty(dir)
	if err != nil {
		return false, err
	}
	// Nothing in it is the container's own doing.
	if merges && placeholder && sameOwner(info, below) || !merges && c.Placeholders[at] && (placeholder || empty) {
		c.changes = c.changes[:index]
		return true, nil
	}
	return false, nil
}

// hidden lists what was in a directory that was removed and made again.
func (c *comparison) hidden(dir *os.Root, at string) error {
	for _, lower := range c.Lower {
		root, err := os.OpenRoot(lower)
		if err != nil {
			return err
		}
		sub, err := root.OpenRoot("." + at)
		if err := errors.Join(root.Close()); err != nil {
			return err
		}
		if err != nil {
			continue // it is not in this one
		}
		err = archive.Each(sub, func(name string) error {
			if _, err := dir.Lstat(name); errors.Is(err, fs.ErrNotExist) {
				return c.add(Change{Kind: Deleted, Path: path.Join(at, name)})
			}
			return nil
		})
		if err := errors.Join(err, sub.Close()); err != nil {
			return err
		}
	}
	return nil
}

func isEmpty(dir *os.Root) (bool, error) {
	f, err := dir.Open(".")
	if err != nil {
		return false, err
	}
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, f.Close()
	}
	return false, errors.Join(err, f.Close())
}

// lower returns what was at a path, or nil. Links on the way to it are not followed: what is below a link of the lower layers is not below it in the upper one.
func (c *comparison) lower(at string) fs.FileInfo {
	for _, lower := range c.Lower {
		info, err := os.Lstat(lower + at)
		if err == nil {
			if isWhiteout(info) {
				return nil
			}
			return info
		}
	}
	return nil
}

func isWhiteout(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode()&fs.ModeCharDevice != 0 && s.Rdev == 0
}

func sameOwner(a, b fs.FileInfo) bool {
	x, okX := a.Sys().(*syscall.Stat_t)
	y, okY := b.Sys().(*syscall.Stat_t)
	return okX && okY && x.Mode == y.Mode && x.Uid == y.Uid && x.Gid == y.Gid
}

type overlayState struct{ opaque, redirected bool }

func overlayAttributes(dir *os.Root) (overlayState, error) {
	f, err := dir.Open(".")
	if err != nil {
		return overlayState{}, err
	}
	value := make([]byte, 8)
	n, err := unix.Fgetxattr(int(f.Fd()), xattrOpaque, value)
	state := overlayState{opaque: err == nil && string(value[:n]) == "y"}
	_, err = unix.Fgetxattr(int(f.Fd()), xattrRedirect, nil)
	state.redirected = err == nil
	return state, f.Close()
}
