package ext4

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
)

// mount mounts an image for the test and returns where, or "" if this process
// may not mount at all (then debugfs stands in for the kernel).
func mount(t *testing.T, image, options string) string {
	t.Helper()
	probe := imageFile(t)
	if out, err := exec.Command(imagetest.E2fsprogs(t, "mke2fs"), "-q", "-F", "-t", "ext4", probe.Name(), "8M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	at := t.TempDir()
	if exec.Command("mount", "-o", "loop,ro", probe.Name(), at).Run() != nil {
		t.Log("this process may not mount; looking with debugfs only")
		return ""
	}
	unmount(t, at)
	if out, err := exec.Command("mount", "-o", "loop,"+options, image, at).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	return at
}

func unmount(t *testing.T, at string) {
	t.Helper()
	if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
		t.Errorf("umount: %v\n%s", err, out)
	}
}

// describe puts what a reader knows of an inode on one line.
func describe(t *testing.T, r *Reader, path string, in *Inode) string {
	t.Helper()
	attrs, err := r.Xattrs(in)
	if err != nil {
		t.Fatal(err)
	}
	target, major, minor := "", in.Major, in.Minor
	if in.Type() == ModeSymlink {
		if target, err = r.Readlink(in); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("%q ino %d mode %o owner %d:%d links %d size %d time %d.%d device %d:%d target %q attrs %v",
		path, in.Number, in.Mode, in.UID, in.GID, in.Links, in.Size, in.ModTime.Unix(), in.ModTime.Nanosecond(), major, minor, target, attrs)
}

// describeMounted does the same through the kernel.
func describeMounted(t *testing.T, at, path string) string {
	t.Helper()
	full := filepath.Join(at, path)
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		t.Fatal(err)
	}
	var target string
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		var err error
		if target, err = os.Readlink(full); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("%q ino %d mode %o owner %d:%d links %d size %d time %d.%d device %d:%d target %q attrs %v",
		path, st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Mtim.Sec, st.Mtim.Nsec,
		unix.Major(st.Rdev), unix.Minor(st.Rdev), target, xattrs(t, full))
}

func xattrs(t *testing.T, path string) map[string][]byte {
	t.Helper()
	attrs := make(map[string][]byte)
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.FieldsFunc(string(names[:n]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		attrs[name] = value[:n]
	}
	return attrs
}

func TestKernelAndReaderSeeTheSame(t *testing.T) {
	f := imageFile(t)
	build(t, f, everything)
	reader := openFile(t, f)
	want := make(map[string]string)
	var commands []string
	err := reader.Walk(func(path string, in *Inode) error {
		want[path] = describe(t, reader, path, in)
		if in.IsDir() {
			commands = append(commands, "ls -p "+path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	listing := debugfs(t, f.Name(), commands...)
	for path := range want {
		name := filepath.Base(path)
		if path != "/" && !strings.Contains(name, "\xff") && !strings.Contains(listing, "/"+name+"/") {
			t.Errorf("debugfs does not list %q", path)
		}
	}
	at := mount(t, f.Name(), "ro")
	if at == "" {
		return
	}
	defer unmount(t, at)
	seen := 0
	err = filepath.WalkDir(at, func(full string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := "/" + strings.TrimPrefix(strings.TrimPrefix(full, at), "/")
		if got := describeMounted(t, at, path); got != want[path] {
			t.Errorf("kernel: %.300s\nreader: %.300s", got, want[path])
		}
		if in := lookup(t, reader, path); in.Type() == ModeRegular {
			if b, err := os.ReadFile(full); err != nil || string(b) != content(t, reader, path) {
				t.Errorf("%s: content differs, %v", path, err)
			}
		}
		seen++
		return nil
	})
	if err != nil || seen != len(want) {
		t.Errorf("kernel sees %d files, reader %d; %v", seen, len(want), err)
	}
}

func TestImagesMountForReadingOnly(t *testing.T) {
	f := imageFile(t)
	build(t, f, everything)
	at := mount(t, f.Name(), "rw")
	if at == "" {
		return
	}
	defer unmount(t, at)
	if err := os.WriteFile(filepath.Join(at, "new"), nil, 0o600); err == nil {
		t.Error("the image could be written to")
	}
}

func TestEmptyFileSystemTakesFilesAndStaysClean(t *testing.T) {
	f := imageFile(t)
	if err := Format(context.Background(), f, 10<<30, testOptions); err != nil {
		t.Fatal(err)
	}
	at := mount(t, f.Name(), "rw")
	if at == "" {
		debugfsWrites(t, f.Name())
		return
	}
	for i := range 300 {
		sub := filepath.Join(at, fmt.Sprint("dir", i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, "file"), make([]byte, 10_000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Lsetxattr(filepath.Join(at, "dir0"), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	unmount(t, at)
	imagetest.Fsck(t, f.Name())
	reader := openFile(t, f)
	if made, now := overheadOf(t, f.Name()), reader.sb.OverheadBlocks; made != now {
		t.Errorf("the kernel has corrected the overhead from %d to %d blocks, which a mount waits for", made, now)
	}
	entries, err := reader.ReadDir(lookup(t, reader, "/"))
	if err != nil || len(entries) != 300 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	attrs, err := reader.Xattrs(lookup(t, reader, "dir0"))
	if err != nil || string(attrs["trusted.overlay.opaque"]) != "y" {
		t.Errorf("attributes %v, %v", attrs, err)
	}
}

// debugfsWrites adds a directory as the kernel would.
func debugfsWrites(t *testing.T, image string) {
	t.Helper()
	if out, err := exec.Command(imagetest.E2fsprogs(t, "debugfs"), "-w", "-R", "mkdir /d", image).CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	imagetest.Fsck(t, image)
}

// overheadOf returns what Format says of a file system of the size of an image.
func overheadOf(t *testing.T, image string) uint32 {
	t.Helper()
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	fresh := imageFile(t)
	if err := Format(context.Background(), fresh, info.Size(), testOptions); err != nil {
		t.Fatal(err)
	}
	return openFile(t, fresh).sb.OverheadBlocks
}
