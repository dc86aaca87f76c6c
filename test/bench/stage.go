package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/test/fixtures/image"
	"github.com/vzctl/vzctl/test/fixtures/registry"
)

const repository = "bookworm"

// stage is what rows share. All of it lies in dir and is gone at the end.
type stage struct {
	dir      string
	count    int // of pairs
	program  string
	root     string
	store    *registry.Registry
	image    string // as vzctl run takes it
	manifest ocispec.Manifest
	made     image.Image
	bare     *bare
}

func newStage(ctx context.Context, count int) (s *stage, err error) {
	s = &stage{count: count}
	if s.program, err = filepath.Abs("bin/vzctl"); err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.program); err != nil {
		return nil, fmt.Errorf("%w; make all kernel builds it", err)
	}
	if s.dir, err = os.MkdirTemp("", "vzb"); err != nil { // short, as sockets lie in it
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.root = s.path("root")
	if err := s.serveImage(ctx); err != nil {
		return nil, err
	}
	s.bare, err = newBare(ctx, s)
	return s, err
}

// serveImage starts a registry with the image in it.
func (s *stage) serveImage(ctx context.Context) (err error) {
	fmt.Fprintln(os.Stderr, "bench: making an image of Debian bookworm")
	if s.made, err = image.Bookworm(ctx); err != nil {
		return err
	}
	if err := os.Mkdir(s.path("registry"), 0o700); err != nil {
		return err
	}
	if s.store, err = registry.Start(ctx, s.path("registry")); err != nil {
		return err
	}
	repo, err := s.store.Repository(repository)
	if err != nil {
		return err
	}
	desc, err := s.made.Push(ctx, repo, "latest")
	if err != nil {
		return err
	}
	raw, err := content.FetchAll(ctx, repo, desc)
	if err != nil {
		return err
	}
	s.image = s.store.Addr + "/" + repository + ":latest"
	return json.Unmarshal(raw, &s.manifest)
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// vzctl is a command with the stage's root.
func (s *stage) vzctl(ctx context.Context, args ...string) *exec.Cmd {
	return s.vzctlIn(ctx, s.root, args...)
}

// vzctlIn takes no configuration of the user's: it is not what is measured.
func (s *stage) vzctlIn(ctx context.Context, root string, args ...string) *exec.Cmd {
	cmd := command(ctx, s.program, args...)
	cmd.Env = append(os.Environ(), "VZCTL_ROOT="+root, "XDG_CONFIG_HOME="+s.path("config"))
	return cmd
}

// detached starts a container that does nothing until it is removed.
func (s *stage) detached(ctx context.Context) (id string, remove func() error, err error) {
	out, err := output(s.vzctl(ctx, "run", "-d", s.image, "sleep", "1000000"))
	if err != nil {
		return "", nil, err
	}
	id = strings.TrimSpace(out)
	return id, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return quiet(s.vzctl(ctx, "rm", "--force", id))
	}, nil
}

// timeline is what vzctl says about one start of a cached container.
func (s *stage) timeline(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var text string
	for range 2 { // the first has to pull, if no row did
		cmd := s.vzctl(ctx, "run", "--rm", "--timeline", s.image, "/bin/true")
		said, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("vzctl run --timeline: %w: %s", err, said)
		}
		text = string(said)
	}
	return text, nil
}

// describe names what the figures depend on.
func (s *stage) describe(ctx context.Context) string {
	version, err := output(s.vzctl(ctx, "version"))
	if err != nil {
		version = "vzctl of an unknown version"
	}
	name, _ := machine.Binary(runtime.GOARCH)
	qemu, _ := output(command(ctx, name, "--version")) // its absence is told by the rows
	first := func(text string) string { line, _, _ := strings.Cut(strings.TrimSpace(text), "\n"); return line }
	return fmt.Sprintf("%s; %s, %s; %d host CPUs, %s/%s; VMs with %d CPU, %d MiB.", first(version), first(qemu), s.bare.host.Accelerator,
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, s.bare.cpus, s.bare.memory>>20)
}

// close ends what still runs, also after Ctrl-C, and waits for it.
func (s *stage) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	if _, err := os.Stat(s.root); err == nil {
		ids, err := output(s.vzctl(ctx, "ls", "--all", "--quiet"))
		errs = append(errs, err)
		if ids := strings.Fields(ids); len(ids) > 0 {
			errs = append(errs, quiet(s.vzctl(ctx, append([]string{"rm", "--force"}, ids...)...)))
		}
		errs = append(errs, s.awaitNetworks(ctx))
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(append(errs, remove(s.dir))...)
}

// remove removes a directory in which who holds a VM that stands by may write until it has noticed.
func remove(dir string) (err error) {
	for range 100 {
		if err = os.RemoveAll(dir); !errors.Is(err, syscall.ENOTEMPTY) {
			break
		}
		time.Sleep(10 * time.Millisecond) // nobody tells
	}
	return err
}

// awaitNetworks returns when the daemons of networks have left; they do some time after the last container.
func (s *stage) awaitNetworks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	paths := store.Paths{Root: s.root}
	networks, err := os.ReadDir(paths.Networks())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, n := range networks {
		life, lockErr := lock.Acquire(ctx, paths.NetworkLife(n.Name()))
		if lockErr != nil {
			return fmt.Errorf("wait for the end of network %q: %w", n.Name(), lockErr)
		}
		err = errors.Join(err, life.Close())
	}
	return err
}
