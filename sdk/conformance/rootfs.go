package conformance

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hostpath"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

func rootfsCases() []Case {
	return []Case{
		{Name: "build gives read-only disks in the cache", Run: rootfsBuild},
		{Name: "build again finds the same disks in the cache", Run: rootfsBuildAgain},
		{Name: "one manifest gives the same bytes in another cache", Run: rootfsDeterministic},
		{Name: "builds of one manifest at once agree", Run: rootfsConcurrently},
		{Name: "a manifest that is not in the layout is not found", Run: rootfsNoManifest},
		{Name: "a manifest that is no digest and paths that are none are invalid", Run: rootfsBadRequests},
		{Name: "a layer that is not what its digest says is a digest mismatch and leaves nothing in the cache", Run: rootfsCorrupt},
		{Name: "a cancelled build leaves nothing in the cache", Run: rootfsCancel},
		{Name: "delete removes an entry and may be repeated", Run: rootfsDelete},
		{Name: "a writable disk is sparse and of the size asked for", Run: rootfsWritable},
		{Name: "a writable disk is not made where something is, or of no size", Run: rootfsBadWritable},
		{Name: "export gives a tar of the files, later layers over earlier ones", Run: rootfsExport},
	}
}

func builders(env *Env) *rootfs.Client {
	return rootfs.NewClient(env.Process.Conn(), env.Process.Info())
}

// build makes the disks of the image in layout.go, in a cache of that name.
func (e *Env) build(ctx context.Context, cache string) (rootfs.Built, rootfs.BuildRequest, error) {
	r, err := e.buildRequest(cache)
	if err != nil {
		return rootfs.Built{}, r, err
	}
	built, err := builders(e).Build(ctx, r, nil)
	return built, r, err
}

func (e *Env) buildRequest(cache string) (rootfs.BuildRequest, error) {
	layout, err := e.subdir("layout")
	if err != nil {
		return rootfs.BuildRequest{}, err
	}
	manifest, err := writeImage(layout)
	if err != nil {
		return rootfs.BuildRequest{}, err
	}
	dir, err := e.subdir(cache)
	return rootfs.BuildRequest{RequestID: "build", LayoutPath: layout, Manifest: manifest, CacheDir: dir}, err
}

func rootfsBuild(ctx context.Context, env *Env) error {
	built, r, err := env.build(ctx, "cache")
	if err != nil {
		return err
	}
	for _, d := range built.Disks {
		if err := checkDisk(r.CacheDir, d); err != nil {
			return err
		}
		if !d.ReadOnly || d.Digest == "" {
			return fmt.Errorf("disk %q is writable or has no digest", d.Path)
		}
	}
	list, err := builders(env).List(ctx, r.CacheDir)
	if err != nil || len(list) != 1 || list[0].Manifest != r.Manifest {
		return wrong(err, "list is %+v", list)
	}
	return nil
}

func checkDisk(dir string, d rootfs.Disk) error {
	if err := hostpath.File(dir, d.Path); err != nil {
		return err
	}
	info, err := os.Stat(d.Path)
	if err != nil {
		return err
	}
	if info.Size() != d.SizeBytes || info.Size()%512 != 0 {
		return fmt.Errorf("disk %q has %d bytes and is said to have %d", d.Path, info.Size(), d.SizeBytes)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others can read %q: mode %04o", d.Path, info.Mode().Perm())
	}
	if d.FileSystem == "" {
		return fmt.Errorf("disk %q has no file system", d.Path)
	}
	return nil
}

func rootfsBuildAgain(ctx context.Context, env *Env) error {
	first, _, err := env.build(ctx, "cache")
	if err != nil {
		return err
	}
	if err := env.restart(ctx); err != nil {
		return err
	}
	second, _, err := env.build(ctx, "cache")
	if err != nil {
		return err
	}
	if first.Cached || !second.Cached || len(first.Disks) != len(second.Disks) || first.Disks[0].Path != second.Disks[0].Path {
		return fmt.Errorf("first %+v, then %+v", first, second)
	}
	return nil
}

func sumOf(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest.SHA256.FromReader(f)
}

func rootfsDeterministic(ctx context.Context, env *Env) error {
	one, _, err := env.build(ctx, "cache")
	if err != nil {
		return err
	}
	two, _, err := env.build(ctx, "another-cache")
	if err != nil {
		return err
	}
	for i := range one.Disks {
		a, err := sumOf(one.Disks[i].Path)
		if err != nil {
			return err
		}
		b, err := sumOf(two.Disks[i].Path)
		if err != nil {
			return err
		}
		if a != b || one.Disks[i].Digest != two.Disks[i].Digest {
			return fmt.Errorf("disk %d is %s in one cache and %s in another", i, a, b)
		}
	}
	return nil
}

func rootfsConcurrently(ctx context.Context, env *Env) error {
	r, err := env.buildRequest("cache")
	if err != nil {
		return err
	}
	paths := make([]string, 4)
	group, building := errgroup.WithContext(ctx)
	for i := range paths {
		group.Go(func() error {
			built, err := builders(env).Build(building, r, nil)
			if err == nil {
				paths[i] = built.Disks[0].Path
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, p := range paths {
		if p != paths[0] {
			return fmt.Errorf("builds gave %q", paths)
		}
	}
	return nil
}

func rootfsNoManifest(ctx context.Context, env *Env) error {
	r, err := env.buildRequest("cache")
	if err != nil {
		return err
	}
	r.Manifest = digest.FromString("nothing")
	_, err = builders(env).Build(ctx, r, nil)
	return wantReason("build", err, fault.NotFound)
}

func rootfsBadRequests(ctx context.Context, env *Env) error {
	good, err := env.buildRequest("cache")
	if err != nil {
		return err
	}
	for what, change := range map[string]func(*rootfs.BuildRequest){
		"a manifest that is a path": func(r *rootfs.BuildRequest) { r.Manifest = "sha256:../../etc/passwd" },
		"no manifest":               func(r *rootfs.BuildRequest) { r.Manifest = "" },
		"a relative layout":         func(r *rootfs.BuildRequest) { r.LayoutPath = "layout" },
		"no cache":                  func(r *rootfs.BuildRequest) { r.CacheDir = "" },
	} {
		r := good
		change(&r)
		_, got := builders(env).Build(ctx, r, nil)
		err = errors.Join(err, wantReason("build with "+what, got, fault.Invalid))
	}
	return err
}

func rootfsCorrupt(ctx context.Context, env *Env) error {
	r, err := env.buildRequest("cache")
	if err != nil {
		return err
	}
	if err := corruptLayer(r.LayoutPath, r.Manifest); err != nil {
		return err
	}
	_, got := builders(env).Build(ctx, r, nil)
	return errors.Join(wantReason("build", got, fault.DigestMismatch), env.emptyCache(ctx, r.CacheDir))
}

func (e *Env) emptyCache(ctx context.Context, dir string) error {
	list, err := builders(e).List(ctx, dir)
	if err == nil && len(list) > 0 {
		err = fmt.Errorf("the cache lists %+v", list[0])
	}
	return err
}

func rootfsCancel(ctx context.Context, env *Env) error {
	r, err := env.buildRequest("cache")
	if err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := builders(env).Build(cancelled, r, nil); !errors.Is(err, context.Canceled) {
		return wrong(err, "a cancelled build did not end as cancelled")
	}
	if err := env.emptyCache(ctx, r.CacheDir); err != nil {
		return err
	}
	_, err = builders(env).Build(ctx, r, nil)
	return err
}

func rootfsDelete(ctx context.Context, env *Env) error {
	built, r, err := env.build(ctx, "cache")
	if err != nil {
		return err
	}
	for range 2 {
		if err := builders(env).Delete(ctx, "delete", r.CacheDir, r.Manifest); err != nil {
			return err
		}
	}
	if _, err := os.Stat(built.Disks[0].Path); !errors.Is(err, os.ErrNotExist) {
		return wrong(err, "the disk is still there")
	}
	return env.emptyCache(ctx, r.CacheDir)
}

func rootfsWritable(ctx context.Context, env *Env) error {
	for _, purpose := range []string{rootfs.Layer, rootfs.Volume} {
		path := filepath.Join(env.Dir, purpose)
		const size = 1 << 30
		d, err := builders(env).CreateWritable(ctx, rootfs.WritableRequest{RequestID: "r-" + purpose, Path: path, SizeBytes: size, Purpose: purpose})
		if err != nil {
			return err
		}
		if d.Path != path || d.ReadOnly || d.SizeBytes != size {
			return fmt.Errorf("it gave %+v", d)
		}
		if err := checkDisk(env.Dir, d); err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Blocks*512 > size/8 {
			return fmt.Errorf("an empty disk of %d bytes occupies %d", size, stat.Blocks*512)
		}
	}
	return nil
}

func rootfsBadWritable(ctx context.Context, env *Env) error {
	path := filepath.Join(env.Dir, "taken")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		return err
	}
	ask := func(r rootfs.WritableRequest) error {
		_, err := builders(env).CreateWritable(ctx, r)
		return err
	}
	err := errors.Join(
		wantReason("a disk where a file is", ask(rootfs.WritableRequest{RequestID: "a", Path: path, SizeBytes: 64 << 20, Purpose: rootfs.Layer}), fault.AlreadyExists),
		wantReason("a disk of no size", ask(rootfs.WritableRequest{RequestID: "b", Path: path + "-b", Purpose: rootfs.Layer}), fault.Invalid),
		wantReason("a disk of negative size", ask(rootfs.WritableRequest{RequestID: "c", Path: path + "-c", SizeBytes: -1, Purpose: rootfs.Layer}), fault.Invalid),
		wantReason("a disk with a relative path", ask(rootfs.WritableRequest{RequestID: "d", Path: "disk", SizeBytes: 64 << 20, Purpose: rootfs.Layer}), fault.Invalid),
		wantReason("a disk in no directory", ask(rootfs.WritableRequest{RequestID: "e", Path: filepath.Join(env.Dir, "no", "disk"), SizeBytes: 64 << 20, Purpose: rootfs.Layer}), fault.NotFound, fault.Invalid),
	)
	if text, readErr := os.ReadFile(path); readErr != nil || string(text) != "mine" {
		err = errors.Join(err, wrong(readErr, "the file that was there is now %q", text))
	}
	return err
}

func rootfsExport(ctx context.Context, env *Env) error {
	built, _, err := env.build(ctx, "cache")
	if err != nil {
		return err
	}
	out := filepath.Join(env.Dir, "out.tar")
	if _, err := builders(env).Export(ctx, rootfs.ExportRequest{RequestID: "e", Disks: built.Disks, OutputPath: out}, nil); err != nil {
		return offered("export", err)
	}
	f, err := os.Open(out)
	if err != nil {
		return err
	}
	defer f.Close()
	files := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		files[filepath.Clean("/"+h.Name)] = string(text)
	}
	if files["/etc/greeting"] != secondGreeting {
		return fmt.Errorf("/etc/greeting is %q", files["/etc/greeting"])
	}
	if _, there := files["/etc/removed"]; there {
		return errors.New("a file that a later layer removed is in the tar")
	}
	return nil
}
