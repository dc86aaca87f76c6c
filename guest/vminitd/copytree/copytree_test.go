package copytree

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestACopyHasAllThatAFileCanBe(t *testing.T) {
	root, to := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "var/data/dir"), 0o755), os.Symlink("/var/../../../var/data", filepath.Join(root, "link")))
	from := filepath.Join(root, "var/data")
	must(t, os.WriteFile(filepath.Join(from, "file"), []byte("content"), 0o600), os.Chmod(filepath.Join(from, "file"), 0o640|os.ModeSetgid),
		os.Link(filepath.Join(from, "file"), filepath.Join(from, "dir/again")), os.Symlink("/etc/passwd", filepath.Join(from, "dir/link")),
		unix.Mkfifo(filepath.Join(from, "fifo"), 0o604), unix.Setxattr(filepath.Join(from, "file"), "user.x", []byte("y"), 0), os.Chmod(from, 0o711),
		unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(from, "file"), []unix.Timespec{{Sec: 5}, {Sec: 6, Nsec: 7}}, 0))
	if os.Geteuid() == 0 {
		must(t, os.Chown(filepath.Join(from, "dir"), 999, 998))
	}
	must(t, FromRoot(root, "/link", to, nil))
	for _, name := range []string{".", "file", "dir", "dir/again", "dir/link", "fifo"} {
		var was, is unix.Stat_t
		must(t, unix.Lstat(filepath.Join(from, name), &was), unix.Lstat(filepath.Join(to, name), &is))
		if was.Mode != is.Mode || was.Uid != is.Uid || was.Gid != is.Gid || was.Nlink != is.Nlink || was.Mtim != is.Mtim || was.Mode&unix.S_IFMT != unix.S_IFDIR && was.Size != is.Size {
			t.Errorf("%s was %+v, and is %+v", name, was, is)
		}
	}
	content, err := os.ReadFile(filepath.Join(to, "dir/again"))
	must(t, err)
	value := make([]byte, 9)
	n, err := unix.Getxattr(filepath.Join(to, "file"), "user.x", value)
	if link, _ := os.Readlink(filepath.Join(to, "dir/link")); string(content) != "content" || err != nil || string(value[:n]) != "y" || link != "/etc/passwd" {
		t.Errorf("content %q, attribute %q, %v, link %q", content, value[:n], err, link)
	}
}

func TestWhatIsNoDirectoryOfTheImageIsNotCopied(t *testing.T) {
	root, to := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(root, "file"), nil, 0o600), os.Symlink("nowhere", filepath.Join(root, "link")), os.Symlink("loop", filepath.Join(root, "loop")))
	for _, name := range []string{"/missing", "/file", "/link", "/loop", "/file/below"} {
		must(t, FromRoot(root, name, to, nil))
	}
	if entries, err := os.ReadDir(to); len(entries) > 0 || err != nil {
		t.Error(entries, err)
	}
}
