package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/guest/archive"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
)

// CopyOptions of copies.
type CopyOptions struct {
	// Follow reads a link that is the source as what it leads to.
	Follow bool
	// Archive keeps owners, set-user-id bits, and extended attributes beyond "user.". Otherwise files are root's in a container, and the user's on the host.
	Archive bool
}

// CopyFrom copies a file or tree of a container to a path of the host, by the rules of docker cp. It returns what was left out.
func (e *Engine) CopyFrom(ctx context.Context, ref, source, destination string, options CopyOptions, report progress.Func) ([]string, error) {
	return e.withFiles(ctx, ref, false, report, func(a *access, c store.Container) error {
		if err := a.beside(c, source, true); err != nil {
			return err
		}
		source = rooted(source)
		stat, err := a.stat(ctx, source, options.Follow)
		if err != nil {
			return err
		}
		from := side{path: source, exists: stat.Exists, dir: stat.Mode&formatMask == formatDir}
		to, err := hostSide(destination)
		if err != nil {
			return err
		}
		plan, err := planCopy(from, to)
		if err != nil {
			return err
		}
		request := &guestv1.ReadFilesRequest{Path: source, Name: plan.name, Follow: options.Follow, OwnHoles: true}
		_, err = a.use(ctx, &guestv1.FilesRequest{Of: &guestv1.FilesRequest_Read{Read: request}}, nil, func(r io.Reader) error {
			return a.extract(ctx, r, destination, plan, options)
		})
		return err
	})
}

// CopyTo copies a file or tree of the host to a path in a container.
func (e *Engine) CopyTo(ctx context.Context, ref, source, destination string, options CopyOptions, report progress.Func) ([]string, error) {
	from, err := hostSource(source, options.Follow)
	if err != nil {
		return nil, err
	}
	return e.withFiles(ctx, ref, true, report, func(a *access, c store.Container) error {
		if err := a.beside(c, destination, false); err != nil {
			return err
		}
		destination = rooted(destination)
		stat, err := a.stat(ctx, destination, true)
		if err != nil {
			return err
		}
		plan, err := planCopy(from, side{path: destination, exists: stat.Exists, dir: stat.Mode&formatMask == formatDir})
		if err != nil {
			return err
		}
		request := &guestv1.WriteFilesRequest{Path: destination, As: !plan.into}
		_, err = a.use(ctx, &guestv1.FilesRequest{Of: &guestv1.FilesRequest_Write{Write: request}}, func(w io.Writer) error {
			return a.pack(ctx, w, source, plan, options)
		}, nil)
		return err
	})
}

// ReadTar writes a tar of a file or tree of a container.
func (e *Engine) ReadTar(ctx context.Context, ref, source string, options CopyOptions, to io.Writer, report progress.Func) ([]string, error) {
	return e.withFiles(ctx, ref, false, report, func(a *access, c store.Container) error {
		if err := a.beside(c, source, true); err != nil {
			return err
		}
		source = rooted(source)
		request := &guestv1.ReadFilesRequest{Path: source, Name: baseName(source), Follow: options.Follow}
		_, err := a.use(ctx, &guestv1.FilesRequest{Of: &guestv1.FilesRequest_Read{Read: request}}, nil, copyTo(to))
		return err
	})
}

// WriteTar puts what is in a tar into a directory of a container, with the owners that it names.
func (e *Engine) WriteTar(ctx context.Context, ref, destination string, from io.Reader, report progress.Func) ([]string, error) {
	return e.withFiles(ctx, ref, true, report, func(a *access, c store.Container) error {
		if err := a.beside(c, destination, false); err != nil {
			return err
		}
		request := &guestv1.WriteFilesRequest{Path: rooted(destination)}
		_, err := a.use(ctx, &guestv1.FilesRequest{Of: &guestv1.FilesRequest_Write{Write: request}}, func(w io.Writer) error {
			_, err := io.Copy(w, from)
			return err
		}, nil)
		return err
	})
}

// Of st_mode.
const (
	formatMask = 0o170000
	formatDir  = 0o040000
)

// rooted is a path in a container, where nobody is in another directory than the root.
func rooted(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return "/" + path
}

// side is the source or destination of a copy, as its user wrote it.
type side struct {
	path        string
	exists, dir bool
}

// copyPlan says where the source goes: as the entry name of a tar, into the destination, or as the destination itself.
type copyPlan struct {
	name string
	into bool
}

// planCopy knows the rules of docker cp.
func planCopy(from, to side) (copyPlan, error) {
	failed := func(path, cause string) error {
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "copy", Subject: path, Cause: errors.New(cause)}
	}
	base := baseName(from.path)
	switch {
	case !from.exists:
		return copyPlan{}, &fault.Error{Reason: fault.NotFound, Op: "copy", Subject: from.path, Cause: errors.New("there is no such file or directory")}
	case !from.dir && wantsDirectory(from.path):
		return copyPlan{}, failed(from.path, "it is not a directory")
	case to.exists && to.dir && from.dir && (base == "." || strings.HasSuffix(from.path, "/.")):
		return copyPlan{name: ".", into: true}, nil
	case to.exists && to.dir:
		return copyPlan{name: base, into: true}, nil
	case to.exists && from.dir:
		return copyPlan{}, failed(to.path, "it is not a directory")
	case !from.dir && wantsDirectory(to.path):
		return copyPlan{}, failed(to.path, "there is no such directory")
	}
	return copyPlan{name: "copy"}, nil
}

func wantsDirectory(path string) bool {
	return strings.HasSuffix(path, "/") || strings.HasSuffix(path, "/.")
}

// baseName is what a file is called in a directory it is copied to; "." if its path does not say.
func baseName(path string) string {
	if strings.HasSuffix(path, "/.") {
		return "."
	}
	base := filepath.Base(path)
	if base == "/" || base == ".." {
		return "."
	}
	return base
}

func hostSide(path string) (side, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return side{path: path}, nil
	}
	if err != nil {
		return side{}, hostError(path, err)
	}
	return side{path, true, info.IsDir()}, nil
}

// hostSource is at the end of a link only if that is to be followed, or the path says that it is of a directory.
func hostSource(path string, follow bool) (side, error) {
	info, err := os.Lstat(path)
	if err == nil && follow {
		info, err = os.Stat(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return side{path: path}, nil
	}
	if err != nil {
		return side{}, hostError(path, err)
	}
	return side{path, true, info.IsDir()}, nil
}

func hostError(path string, err error) error {
	reason := fault.Internal
	switch {
	case errors.Is(err, fs.ErrPermission):
		reason = fault.PermissionDenied
	case errors.Is(err, fs.ErrNotExist):
		reason = fault.NotFound
	}
	return &fault.Error{Reason: reason, Op: "copy", Subject: path, Cause: err}
}

// extract writes what a guest sends. No guest decides about owners and rights of files on the host unless its user says so.
func (a *access) extract(ctx context.Context, from io.Reader, destination string, plan copyPlan, options CopyOptions) (err error) {
	x := archive.ExtractOptions{Warn: func(text string) { a.warn(text) }, Xattr: func(name string) bool { return strings.HasPrefix(name, "user.") }}
	if options.Archive {
		if os.Geteuid() == 0 {
			x.Owners, x.Specials, x.Xattr = true, true, func(string) bool { return true }
		} else {
			a.warn("owners were left out: only root can give files away")
		}
	}
	dir := destination
	if !plan.into {
		// A link that is the destination is followed: it is the user's.
		if real, err := filepath.EvalSymlinks(destination); err == nil {
			destination = real
		}
		destination = filepath.Clean(destination)
		dir, x.Rename = filepath.Dir(destination), filepath.Base(destination)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return hostError(dir, err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return archive.Extract(ctx, root, from, x)
}

// pack writes a tar of a file or tree of the host.
func (a *access) pack(ctx context.Context, to io.Writer, source string, plan copyPlan, options CopyOptions) (err error) {
	if options.Follow {
		if source, err = filepath.EvalSymlinks(source); err != nil {
			return hostError(source, err)
		}
	}
	dir, name := filepath.Split(source)
	if name == "" || name == "." || name == ".." {
		dir, name = source, "."
	}
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return hostError(dir, err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	p := archive.PackOptions{Owner: &archive.Owner{}, Warn: func(text string) { a.warn(text) }}
	if options.Archive {
		p.Owner = nil
	}
	w := archive.NewWriter(to)
	w.OwnHoles = true
	if err := archive.NewPacker(w, p).Tree(ctx, root, name, plan.name); err != nil {
		return err
	}
	return w.Close()
}
