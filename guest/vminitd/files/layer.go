package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/guest/archive"
)

// Names of an OCI image's layers, https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts.
const (
	whiteout       = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
)

// WriteLayer writes changes as a layer of an image. What overlayfs keeps in places of its own, renamed directories and files of which only the owner or mode was
// changed, is read from the merged root and written whole.
func (l Layers) WriteLayer(ctx context.Context, changes []Change, to *archive.Writer, warn func(string)) error {
	root, err := os.OpenRoot(l.Merged)
	if err != nil {
		return err
	}
	defer root.Close() // only read
	w := &layerWriter{ctx: ctx, root: root, to: to, warn: warn, packer: archive.NewPacker(to, archive.PackOptions{NoHoles: true, Warn: warn, IDs: l.IDs})}
	for _, c := range changes {
		err := w.change(c)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return to.Close()
}

type layerWriter struct {
	ctx    context.Context
	root   *os.Root
	to     *archive.Writer
	packer *archive.Packer
	warn   func(string)
}

func (w *layerWriter) change(c Change) error {
	name := strings.TrimPrefix(c.Path, "/")
	if strings.HasPrefix(path.Base(name), whiteout) {
		w.warn(c.Path + " was left out: a layer has another meaning for names like that")
		return nil
	}
	dir, base := path.Split(name)
	if c.Kind == Deleted {
		return w.marker(dir + whiteout + base)
	}
	parent, err := w.root.OpenRoot("./" + dir)
	if err != nil {
		return err
	}
	defer parent.Close() // only read
	info, err := parent.Lstat(base)
	if err != nil {
		return err
	}
	if err := w.packer.Entry(w.ctx, parent, base, name, info); err != nil {
		return err
	}
	if c.opaque {
		if err := w.marker(path.Join(name, opaqueWhiteout)); err != nil {
			return err
		}
	}
	if !c.tree || !info.IsDir() {
		return nil
	}
	sub, err := parent.OpenRoot(base)
	if err != nil {
		return err
	}
	defer sub.Close() // only read
	return archive.Each(sub, func(n string) error { return w.packer.Tree(w.ctx, sub, n, path.Join(name, n)) })
}

func (w *layerWriter) marker(name string) error {
	return w.to.Next(archive.Header{Name: name, Type: tar.TypeReg, Mode: 0o600, Time: time.Unix(0, 0)})
}

// Expand lists what is in directories that were renamed, too.
func (l Layers) Expand(ctx context.Context, changes []Change) ([]Change, error) {
	root, err := os.OpenRoot(l.Merged)
	if err != nil {
		return nil, err
	}
	defer root.Close() // only read
	e := &comparison{ctx: ctx}
	for _, c := range changes {
		if err := e.add(c); err != nil {
			return nil, err
		}
		if c.tree {
			if err := e.tree(root, "."+c.Path, c.Path, 0); err != nil {
				return nil, err
			}
		}
	}
	return e.changes, nil
}

// maxDepth bounds how deep directories are looked at, one open descriptor each.
const maxDepth = 1000

// tree adds what is below a directory.
func (c *comparison) tree(parent *os.Root, name, at string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%q is more than %d directories deep", at, maxDepth)
	}
	dir, err := parent.OpenRoot(name + "/.") // OpenRoot of what has become a FIFO would wait
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // it went meanwhile
	}
	if err != nil {
		return err
	}
	defer dir.Close() // only read
	return archive.Each(dir, func(name string) error {
		info, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.add(Change{Kind: Added, Path: path.Join(at, name)}); err != nil || !info.IsDir() {
			return err
		}
		return c.tree(dir, name, path.Join(at, name), depth+1)
	})
}
