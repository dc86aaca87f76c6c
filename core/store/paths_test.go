package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
)

func TestPlacesByDefault(t *testing.T) {
	tests := []struct {
		name      string
		os        string
		uid       int
		home      string
		env       map[string]string
		root, run string
	}{
		{"root on Linux", "linux", 0, "/root", map[string]string{"XDG_DATA_HOME": "/x", "XDG_RUNTIME_DIR": "/y"}, "/var/lib/vzctl", "/run/vzctl"},
		{"user on Linux", "linux", 1000, "/home/u", map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000"}, "/home/u/.local/share/vzctl", "/run/user/1000/vzctl"},
		{"user with data elsewhere", "linux", 1000, "/home/u", map[string]string{"XDG_DATA_HOME": "/data"}, "/data/vzctl", "/tmp/vzctl-1000"},
		{"relative XDG directories", "linux", 1000, "/home/u", map[string]string{"XDG_DATA_HOME": "d", "XDG_RUNTIME_DIR": "r"}, "/home/u/.local/share/vzctl", "/tmp/vzctl-1000"},
		{"user on a Mac", "darwin", 501, "/Users/u", nil, "/Users/u/Library/Application Support/vzctl", "/Users/u/.vzctl/run"},
		{"no home", "linux", 1000, "", nil, "", "/tmp/vzctl-1000"},
	}
	for _, test := range tests {
		p := place{os: test.os, uid: test.uid, home: test.home, env: func(k string) string { return test.env[k] }}
		root, err := p.root()
		if root != test.root || (err == nil) != (test.root != "") || p.run() != test.run {
			t.Errorf("%s: root %q (%v), run %q", test.name, root, err, p.run())
		}
	}
}

func TestRuntimeDirectoriesAreShortAndDifferBetweenRoots(t *testing.T) {
	a, b := Paths{Root: "/" + strings.Repeat("long", 50), Run: "/run/vzctl"}, Paths{Root: "/b", Run: "/run/vzctl"}
	id := NewID()
	seen := map[string]bool{}
	for _, dir := range []string{a.SandboxRun(id), b.SandboxRun(id), a.NetworkRun(id), a.SandboxRun(NewID())} {
		if len(dir) != len("/run/vzctl/")+16 || seen[dir] {
			t.Errorf("directory %q", dir)
		}
		seen[dir] = true
	}
}

func TestRuntimeDirectoryTooLongForSocketsIsRefused(t *testing.T) {
	s := open(t)
	s.paths.Run = filepath.Join(t.TempDir(), strings.Repeat("r", 100))
	_, err := s.MakeSandboxRun(NewID())
	if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("error %v", err)
	}
	if maxSocketPath("linux") != 107 || maxSocketPath("darwin") != 103 {
		t.Error("the limits of socket addresses have changed")
	}
}

func TestDirectoriesOfOthersAreRefused(t *testing.T) {
	tests := []struct {
		name string
		make func(dir string) error
		want string
	}{
		{"open to others", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)) }, "others can enter it (mode 0755)"},
		{"a link", func(dir string) error { return os.Symlink("/tmp", dir) }, "it is not a directory"},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "it is not a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			if err := test.make(s.paths.Run); err != nil {
				t.Fatal(err)
			}
			if _, err := s.MakeSandboxRun(NewID()); !errors.Is(err, fault.PermissionDenied) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestRootThatCannotBeUsedIsAClearError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"relative", filepath.Join(file, "root")} {
		if _, err := Open(root); err == nil || !strings.Contains(err.Error(), root) {
			t.Errorf("%s: error %v", root, err)
		}
	}
	notText := filepath.Join(t.TempDir(), "\xff") // plugins could not be told of it
	if _, err := Open(notText); !errors.Is(err, fault.Invalid) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(notText); err == nil {
		t.Error("it was made")
	}
}
