package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/kernel"
)

// arm64Image is enough of one to be known.
func arm64Image(version string) []byte {
	b := make([]byte, 0x100)
	copy(b[0x38:], "ARM\x64")
	return append(b, "Linux version "+version+" "...)
}

// install writes a kernel and its description, as make kernel does, and returns the kernel's path.
func install(t *testing.T, dir string, d description, content []byte) string {
	t.Helper()
	dir = filepath.Join(dir, d.Arch)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, d.Path)
	write(t, path, content)
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, descriptionName), raw)
	return path
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func described(name, arch string, content []byte) description {
	sum := sha256.Sum256(content)
	return description{
		Name: name, Version: "6.1.2-" + name, Arch: arch, Format: kernel.FormatRaw, Path: "vmlinux", SHA256: hex.EncodeToString(sum[:]), CommandLine: "quiet",
	}
}

func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestEnsure(t *testing.T) {
	ours, theirs, third := tempDir(t), tempDir(t), tempDir(t)
	content := arm64Image("6.6.6")
	arm := install(t, ours, described("vzctl", "arm64", content), content)
	intel := install(t, ours, described("vzctl", "x86_64", content), content)
	other := install(t, third, described("other", "arm64", content), content)
	install(t, theirs, described("vzctl", "arm64", []byte("hidden by the first")), content)

	loose := filepath.Join(tempDir(t), "Image")
	write(t, loose, content)
	link := filepath.Join(tempDir(t), "link")
	if err := os.Symlink(loose, link); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(tempDir(t), "text")
	write(t, text, []byte("hello"))
	fifo := filepath.Join(tempDir(t), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	replaced := tempDir(t)
	newer := install(t, replaced, described("vzctl", "arm64", content), arm64Image("6.7.8"))

	p := &Provider{Dirs: []string{filepath.Join(ours, "missing"), ours, theirs, third}}
	for _, c := range []struct {
		name    string
		request kernel.EnsureRequest
		path    string
		version string
		reason  fault.Reason
		says    string
	}{
		{name: "no reference is the default of the architecture", request: kernel.EnsureRequest{Arch: "arm64"}, path: arm, version: "6.1.2-vzctl"},
		{name: "each architecture has its own", request: kernel.EnsureRequest{Arch: "amd64"}, path: intel, version: "6.1.2-vzctl"},
		{name: "by name", request: kernel.EnsureRequest{Arch: "arm64", Reference: "other"}, path: other, version: "6.1.2-other"},
		{name: "by path with its description", request: kernel.EnsureRequest{Arch: "arm64", Reference: other}, path: other, version: "6.1.2-other"},
		{name: "by path without one", request: kernel.EnsureRequest{Arch: "arm64", Reference: loose}, path: loose, version: "6.6.6"},
		{name: "by a link, which is resolved", request: kernel.EnsureRequest{Arch: "arm64", Reference: link}, path: loose, version: "6.6.6"},
		{name: "a description of another file's content is not believed", request: kernel.EnsureRequest{Arch: "arm64", Reference: newer}, path: newer, version: "6.7.8"},

		{name: "unknown name", request: kernel.EnsureRequest{Arch: "arm64", Reference: "nope"}, reason: fault.NotFound, says: "make kernel"},
		{name: "unknown architecture", request: kernel.EnsureRequest{Arch: "riscv64"}, reason: fault.NotFound, says: "riscv64"},
		{name: "a name of another architecture", request: kernel.EnsureRequest{Arch: "amd64", Reference: "other"}, reason: fault.Invalid, says: "arm64"},
		{name: "a file of another architecture", request: kernel.EnsureRequest{Arch: "amd64", Reference: loose}, reason: fault.Invalid, says: "kernel for arm64"},
		{name: "a described file of another architecture", request: kernel.EnsureRequest{Arch: "amd64", Reference: arm}, reason: fault.Invalid, says: "kernel for arm64"},
		{name: "missing path", request: kernel.EnsureRequest{Arch: "arm64", Reference: "/nowhere/vmlinux"}, reason: fault.NotFound, says: "--kernel PATH"},
		{name: "relative path", request: kernel.EnsureRequest{Arch: "arm64", Reference: "./vmlinux"}, reason: fault.Invalid, says: "absolute"},
		{name: "not a kernel", request: kernel.EnsureRequest{Arch: "arm64", Reference: text}, reason: fault.Invalid, says: "not a kernel"},
		{name: "a directory", request: kernel.EnsureRequest{Arch: "arm64", Reference: ours}, reason: fault.Invalid, says: "regular file"},
		{name: "a FIFO does not hang", request: kernel.EnsureRequest{Arch: "arm64", Reference: fifo}, reason: fault.Invalid, says: "regular file"},
		{name: "unknown flavour", request: kernel.EnsureRequest{Arch: "arm64", Flavour: "nested"}, reason: fault.Unsupported, says: "nested"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := p.Ensure(context.Background(), c.request, nil)
			if c.reason != "" {
				if fault.ReasonOf(err) != c.reason || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("%v; want %q saying %q", err, c.reason, c.says)
				}
				return
			}
			if err != nil || got.Path != c.path || got.Version != c.version || got.Format != kernel.FormatRaw || got.CommandLine == "" {
				t.Fatalf("%+v, %v; want version %q at %q", got, err, c.version, c.path)
			}
		})
	}
}

func TestListHasEachKernelOnce(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	content := arm64Image("6.6.6")
	for _, dir := range []string{first, second} {
		install(t, dir, described("vzctl", "arm64", content), content)
		install(t, dir, described("vzctl", "x86_64", content), content)
	}
	p := &Provider{Dirs: []string{first, second}}
	for arch, want := range map[string]int{"": 2, "amd64": 1, "riscv64": 0} {
		got, err := p.List(context.Background(), arch, "")
		if err != nil || len(got) != want {
			t.Errorf("arch %q: %+v, %v; want %d", arch, got, err, want)
		}
	}
}

func TestABrokenDescriptionIsNamed(t *testing.T) {
	good := described("vzctl", "arm64", nil)
	for name, change := range map[string]func(*description){
		"bad name":             func(d *description) { d.Name = "../x" },
		"unknown architecture": func(d *description) { d.Arch = "vax" },
		"unknown format":       func(d *description) { d.Format = "a.out" },
		"leads elsewhere":      func(d *description) { d.Path = "../../etc/passwd" },
		"bad sha256":           func(d *description) { d.SHA256 = "123" },
		"not printable":        func(d *description) { d.CommandLine = "quiet\ninit=/bin/sh" },
	} {
		t.Run(name, func(t *testing.T) {
			d := good
			change(&d)
			raw, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			write(t, filepath.Join(dir, descriptionName), raw)
			p := &Provider{Dirs: []string{dir}}
			if _, err := p.Ensure(context.Background(), kernel.EnsureRequest{Arch: "arm64"}, nil); fault.ReasonOf(err) != fault.Invalid ||
				!strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v", err)
			}
			if got, err := p.List(context.Background(), "", ""); err != nil || len(got) != 0 {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestContentIsCheckedOnceAndAgainAfterAChange(t *testing.T) {
	dir, cache := tempDir(t), filepath.Join(t.TempDir(), "cache")
	content := arm64Image("6.6.6")
	path := install(t, dir, described("vzctl", "arm64", content), content)
	p := &Provider{Dirs: []string{dir}}
	ensure := func() error {
		_, err := p.Ensure(context.Background(), kernel.EnsureRequest{Arch: "arm64", CacheDir: cache}, nil)
		return err
	}
	if err := ensure(); err != nil {
		t.Fatal(err)
	}
	if notes, err := os.ReadDir(cache); err == nil && len(notes) > 0 {
		t.Error("the digest of a file just written was remembered")
	}
	// A note with the file's identity is believed, and one of an earlier state is not.
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := identify(f)
	if err != nil {
		t.Fatal(err)
	}
	id.SHA256 = strings.Repeat("0", 64)
	if err := remember(notePath(path, cache), id); err != nil {
		t.Fatal(err)
	}
	if err := ensure(); !errors.Is(err, fault.DigestMismatch) || !strings.Contains(err.Error(), "make kernel") {
		t.Errorf("the remembered digest was not used: %v", err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := ensure(); err != nil {
		t.Errorf("an old note was believed: %v", err)
	}
	write(t, path, arm64Image("6.6.7"))
	if err := ensure(); !errors.Is(err, fault.DigestMismatch) {
		t.Errorf("a changed kernel was accepted: %v", err)
	}
}

func TestSearchPathHasTheEnvironmentFirst(t *testing.T) {
	got := SearchPath("/a:/b", "/opt/libexec/vzctl/plugins/kernel-local")
	want := []string{"/a", "/b", "/opt/libexec/vzctl/kernels", "/opt/build/kernels"}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q, want %q", got, want)
	}
}

// Whoever keeps an answer looks at these files: a kernel that would be found in place of this one, or that the name stands for now, is among them.
func TestAnAnswerDependsOnAllThatWasLookedAt(t *testing.T) {
	first, second := tempDir(t), tempDir(t)
	path := install(t, second, described("main", "arm64", arm64Image("6.6.6")), arm64Image("6.6.6"))
	link := filepath.Join(first, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	p := Provider{Dirs: []string{first, second}}
	for reference, want := range map[string][]string{
		"": {filepath.Join(first, descriptionName), filepath.Join(first, "arm64", descriptionName), filepath.Join(second, "arm64", descriptionName),
			filepath.Join(second, "arm64", "vmlinux")},
		link: {link, filepath.Join(second, "arm64", descriptionName)},
	} {
		k, err := p.Ensure(t.Context(), kernel.EnsureRequest{Arch: "arm64", Reference: reference}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range want {
			if !slices.Contains(k.DependsOn, path) {
				t.Errorf("%q: %q is missing in %q", reference, path, k.DependsOn)
			}
		}
	}
}
