package vm

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// A share's path is looked at when the VM is created, its links are followed when it starts, and from then on it may have become another's.
func TestWhatIsServedIsOpenedByNoLink(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.MkdirAll(at("parent/data"), 0o700), os.Mkdir(at("secrets"), 0o700), os.WriteFile(at("file"), nil, 0o600), unix.Mkfifo(at("fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"parent/data", "file"} {
		file, _, err := openSource(at(name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = file.Close()
	}
	if _, _, err := openSource(at("fifo")); err == nil {
		t.Error("a FIFO is served")
	}
	s := hypervisor.Spec{StateDir: t.TempDir(), Shares: []hypervisor.Share{{Tag: "a", Path: at("parent/data"), Type: hypervisor.ShareVirtioFS}}}
	resolved, _, err := shared(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, swap := range []string{"parent/data", "parent"} {
		if err := errors.Join(os.RemoveAll(at(swap)), os.Symlink(at("secrets"), at(swap)), os.MkdirAll(at("secrets/data"), 0o700)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := openSource(resolved.Shares[0].Path); err == nil || !strings.Contains(err.Error(), "link") {
			t.Errorf("after %s has become a link: %v", swap, err)
		}
		if err := errors.Join(os.Remove(at(swap)), os.MkdirAll(at("parent/data"), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsServedIsSeenByItsServerAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		if _, err := newManager(t).Create(t.Context(), "r", withVirtioFS(t)); !errors.Is(err, fault.Unsupported) {
			t.Errorf("without privilege: %v", err)
		}
		return
	}
	source, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(source, "below"), 0o700), os.WriteFile(filepath.Join(source, "file"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		share     hypervisor.Share
		refused   []string // not to be made
		permitted []string
	}{
		{"a directory", hypervisor.Share{Path: source}, nil, []string{"new", "below/new"}},
		{"a directory, read-only", hypervisor.Share{Path: source, ReadOnly: true}, []string{"file", "new", "below/new"}, nil},
		{"a file", hypervisor.Share{Path: filepath.Join(source, "file")}, []string{"new"}, []string{hypervisor.ShareFile}},
		{"a file, read-only", hypervisor.Share{Path: filepath.Join(source, "file"), ReadOnly: true}, []string{"new", hypervisor.ShareFile}, nil},
	} {
		dir := t.TempDir()
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and not unlocked: the thread ends, and with it what is mounted
			err := bindFiles(nil)
			if err == nil { // something that the host has mounted below
				err = unix.Mount("below", filepath.Join(source, "below"), "tmpfs", 0, "size=64k")
			}
			if err := errors.Join(err, enclose(c.share, dir)); err != nil {
				t.Errorf("%s: %v", c.name, err)
				return
			}
			for _, name := range c.refused {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); !errors.Is(err, unix.EROFS) {
					t.Errorf("%s: writing %s: %v", c.name, name, err)
				}
			}
			for _, name := range c.permitted {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		}()
		<-done
		if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
			t.Errorf("%s: others see %v, %v", c.name, left, err)
		}
	}
}

// TestWhatTheHostMountsLaterIsNotServed holds because it would be served without the share's limits.
func TestWhatTheHostMountsLaterIsNotServed(t *testing.T) {
	if os.Geteuid() != 0 {
		return // nothing is served then, see above
	}
	source, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked, as above
		late := filepath.Join(source, "late")
		// Where the host mounts, as most hosts do, with the mounts of its namespaces being told of each other's.
		err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("source", source, "tmpfs", 0, ""),
			unix.Mount("", source, "", unix.MS_SHARED, ""), os.Mkdir(late, 0o700))
		if err != nil {
			t.Error(err)
			return
		}
		host, err := os.Open("/proc/thread-self/ns/mnt")
		if err != nil {
			t.Error(err)
			return
		}
		defer host.Close()
		if err := enclose(hypervisor.Share{Path: source, ReadOnly: true}, dir); err != nil {
			t.Error(err)
			return
		}
		served, err := os.Open("/proc/thread-self/ns/mnt")
		if err != nil {
			t.Error(err)
			return
		}
		defer served.Close()
		if err := errors.Join(unix.Setns(int(host.Fd()), unix.CLONE_NEWNS), unix.Mount("late", late, "tmpfs", 0, ""), unix.Setns(int(served.Fd()), unix.CLONE_NEWNS)); err != nil {
			t.Error(err)
			return
		}
		if err := os.WriteFile(filepath.Join(dir, "late/file"), nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("writing to what was mounted later: %v", err)
		}
	}()
	<-done
}

func TestAVMWithAVirtiofsdIsNeitherClonedNorSaved(t *testing.T) {
	spec := withVirtioFS(t)
	spec.CacheDir = t.TempDir()
	v := &VM{spec: spec}
	v.host.OS = "linux"
	if canClone(v.spec, v.host) {
		t.Error("it would be cloned")
	}
	if err := v.savable("take a snapshot of VM"); !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "virtiofs") {
		t.Errorf("a snapshot: %v", err)
	}
	v.spec.Shares[0].Type = hypervisor.Share9P
	if err := v.savable("take a snapshot of VM"); !canClone(v.spec, v.host) || err != nil {
		t.Errorf("by 9p it can be neither: %v", err)
	}
}

// QEMU only knows that nobody answers.
func TestVMWhoseVirtiofsdDoesNotServeSaysWhy(t *testing.T) {
	if os.Geteuid() != 0 {
		return // it is refused, see above
	}
	dir := t.TempDir()
	script := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo virtiofsd 9.9; exit; fi\necho no namespaces for you >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(dir, "virtiofsd"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	m, spec := newManager(t), withVirtioFS(t)
	if _, err := m.Create(t.Context(), "r", spec); err != nil {
		t.Fatal(err)
	}
	_, err := m.Start(within(t, bootDeadline), spec.ID)
	if err == nil || !strings.Contains(err.Error(), "no namespaces for you") || !strings.Contains(err.Error(), spec.Shares[0].Path) {
		t.Errorf("it starts with %v", err)
	}
	if err := m.Delete(t.Context(), "d", spec.ID); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{spec.RuntimeDir, spec.StateDir} {
		if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
			t.Errorf("left are %v, %v", left, err)
		}
	}
}

func withVirtioFS(t *testing.T) hypervisor.Spec {
	t.Helper()
	spec := specOf(t, "shares")
	spec.StateDir = t.TempDir()
	spec.Shares = []hypervisor.Share{{Tag: "share0", Path: t.TempDir(), Type: hypervisor.ShareVirtioFS}}
	return spec
}
