// Command demo shows what vzctl does, from a fresh clone: it builds, fills a registry of its own, and runs containers from it, each in its own
// virtual machine. It says what it does and how long that took, checks what comes back, and leaves nothing but the build and its caches.
// `make demo` runs it after installing what is missing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/test/fixtures/image"
	"github.com/vzctl/vzctl/test/fixtures/registry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	began := time.Now()
	if err := step("building the command, the plugins and the guest's init image", func() error { return makeTarget(ctx, "all") }); err != nil {
		return err
	}
	if err := step("building the guest's kernel: 5 to 12 minutes on two cores, a second when it is in the cache", func() error { return makeTarget(ctx, "kernel") }); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vzctl-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := newDemo(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.cleanUp()) }()

	var store *registry.Registry
	err = step("starting Debian's docker-registry on loopback, with an image made from Debian's busybox", func() (err error) {
		store, err = startRegistry(ctx, dir)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	web, url, err := serve()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, web.Close()) }()

	name := store.Addr + "/busybox:latest"
	for _, s := range []scene{
		{say: "the first container: pulled, turned into an ext4 disk, booted, run", args: []string{"run", "--rm", name, "echo", "hello from a virtual machine"},
			want: "hello from a virtual machine\n"},
		{say: "the second: the image and its disk are there already", args: []string{"run", "--rm", name, "uname", "-srm"}},
		{say: "with standard input", args: []string{"run", "--rm", "-i", name, "cat"}, stdin: "typed on the host\n", want: "typed on the host\n"},
		{say: "a command that fails: the exit code is the command's", args: []string{"run", "--rm", name, "sh", "-c", "echo to stderr >&2; exit 42"}, code: 42},
		{say: "the network: a page from a web server on the host, which this demo's config.toml allows",
			args: []string{"run", "--rm", name, "wget", "-q", "-O", "-", url}, want: page},
		{say: "where the time of a start goes", args: []string{"run", "--rm", "--timeline", name, "true"}},
	} {
		if err := d.play(ctx, s); err != nil {
			return err
		}
	}
	say("all of it took %.1f s", time.Since(began).Seconds())
	return nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "\n== "+format+"\n", args...) }

func step(what string, do func() error) error {
	say("%s", what)
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "   (%.1f s)\n", time.Since(began).Seconds())
	return nil
}

func makeTarget(ctx context.Context, target string) error {
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "-s", target)
	cmd.Stderr = os.Stderr // what it prints besides is for scripts
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make %s: %w", target, err)
	}
	return nil
}

func startRegistry(ctx context.Context, dir string) (*registry.Registry, error) {
	storage := filepath.Join(dir, "registry")
	if err := os.Mkdir(storage, 0o700); err != nil {
		return nil, err
	}
	busybox, err := image.Busybox()
	if err != nil {
		return nil, err
	}
	store, err := registry.Start(ctx, storage)
	if err != nil {
		return nil, err
	}
	repository, err := store.Repository("busybox")
	if err == nil {
		_, err = busybox.Push(ctx, repository, "latest")
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

const page = "a page from the host\n"

// serve starts a web server on loopback and returns its address as containers see it.
func serve() (*http.Server, string, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, page) // wget says if it did not arrive
	})}
	go func() { _ = server.Serve(listener) }() // ends with Close
	port := listener.Addr().(*net.TCPAddr).Port
	return server, fmt.Sprintf("http://host.vzctl.internal:%d/", port), nil
}
