package files

import (
	"archive/tar"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
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
	w := &layerWriter{ctx: ctx, root: root, to: to, warn: warn, packer: archive.NewPacker(to, archive.PackOptions{NoHoles: true, Warn: warn})}
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
	names, err := archive.Names(sub)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := w.packer.Tree(w.ctx, sub, n, path.Join(name, n)); err != nil {
			return err
		}
	}
	return nil
}

func (w *layerWriter) marker(name string) error {
	return w.to.Next(archive.Header{Name: name, Type: tar.TypeReg, Mode: 0o600, Time: time.Unix(0, 0)})
}

// Expand lists what is in directories that were renamed, too.
func (l Layers) Expand(ctx context.Context, changes []Change) (all []Change, err error) {
	bytes := 0
	for _, c := range changes {
		all = append(all, c)
		bytes += len(c.Path)
		if !c.tree {
			continue
		}
		top := l.Merged + c.Path
		err := fs.WalkDir(os.DirFS(top), ".", func(name string, _ fs.DirEntry, err error) error {
			if name == "." || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if bytes += len(c.Path) + 1 + len(name); bytes > maxPaths || len(all) >= maxChanges {
				return errTooMany
			}
			all = append(all, Change{Kind: Added, Path: path.Join(c.Path, name)})
			return errors.Join(err, ctx.Err())
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
