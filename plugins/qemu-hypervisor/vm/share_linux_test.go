package vm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

func TestASharedFileIsAloneAndTheSameFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"file", "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	s := hypervisor.Spec{StateDir: state, Shares: []hypervisor.Share{{Tag: "a", Path: dir}, {Tag: "b", Path: filepath.Join(dir, "link")}}}
	for range 2 { // what an earlier start left is no matter
		got, binds, err := shared(s)
		if err != nil || len(binds) > 0 {
			t.Fatal(binds, err)
		}
		if got.Shares[0].Path != dir || s.Shares[1].Path != filepath.Join(dir, "link") {
			t.Errorf("shared are %+v, asked for was %+v", got.Shares, s.Shares)
		}
		entries, err := os.ReadDir(got.Shares[1].Path)
		if err != nil || len(entries) != 1 || entries[0].Name() != hypervisor.ShareFile {
			t.Fatalf("beside the file there is more: %v, %v", entries, err)
		}
		if err := os.WriteFile(filepath.Join(got.Shares[1].Path, hypervisor.ShareFile), []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if content, err := os.ReadFile(filepath.Join(dir, "file")); string(content) != "new" || err != nil {
		t.Errorf("the file has %q, %v", content, err)
	}
	if err := unshare(s); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(state); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Error(err)
	}
}

func TestAFileOfAnotherFileSystemIsSeenByQEMUAlone(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "share-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(other) })
	file := filepath.Join(other, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := hypervisor.Spec{StateDir: t.TempDir(), Shares: []hypervisor.Share{{Tag: "a", Path: file}}}
	got, binds, err := shared(s)
	if os.Geteuid() != 0 {
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("without privilege: %v", err)
		}
		return
	}
	if err != nil || len(binds) != 1 || binds[0] != (bind{file, filepath.Join(got.Shares[0].Path, hypervisor.ShareFile)}) {
		t.Fatal(got.Shares, binds, err)
	}
	if content, err := os.ReadFile(binds[0].to); len(content) > 0 || err != nil {
		t.Errorf("others see %q, %v", content, err)
	}
}

func TestSharesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		path   string
		reason fault.Reason
	}{
		"missing": {filepath.Join(dir, "missing"), fault.NotFound},
		"device":  {"/dev/null", fault.Invalid},
	} {
		err := checkShare(hypervisor.Share{Path: c.path})
		if err == nil || !errors.Is(badFile("share", c.path, err), c.reason) {
			t.Errorf("%s: %v, want %v", name, err, c.reason)
		}
	}
}
