package overlay

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

// scenario is what happens in a container before it is exported.
const scenario = `
set -e
mkdir newdir; echo new > newdir/file
rm gone; rm -r dir/gone
echo changed >> changed
chmod 0700 large                 # copies metadata up, not data
mv dir moved                     # a redirect
mv moved/sub moved/sub2
echo x > moved/added
rm -r replaced; mkdir replaced; echo only > replaced/this   # opaque
ln hard1 hard3                   # more names of a lower file
echo more >> hard1               # copies up all names
chmod 0600 link-a                # all names, metadata only
mv renamed-file other-name
mkfifo pipe; mknod null c 1 3; ln -s target symlink
`

// TestExportEqualsTheMountedOverlay makes changes through the kernel's overlayfs, as a
// guest does, and compares an export with what tar sees in the mount. Where
// this process may not mount, a disk made by hand stands in.
func TestExportEqualsTheMountedOverlay(t *testing.T) {
	dir := t.TempDir()
	base, upper := filepath.Join(dir, "base.img"), filepath.Join(dir, "upper.img")
	writeBase(t, base)
	run := func(script string) ([]byte, error) {
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	formatUpper(t, upper)
	mount := `mkdir -p lower rw merged; mount -o loop,ro base.img lower; mount -o loop upper.img rw; mkdir rw/upper rw/work
mount -t overlay -o redirect_dir=on,index=on,xino=on,metacopy=on,lowerdir=lower,upperdir=rw/upper,workdir=rw/work overlay merged`
	unmount := `umount merged 2>/dev/null || true; umount rw 2>/dev/null || true; umount lower 2>/dev/null || true`
	defer func() {
		if out, err := run(unmount); err != nil {
			t.Errorf("unmount: %v\n%s", err, out)
		}
	}()
	if out, err := run(mount); err != nil {
		t.Logf("this process may not mount (%v: %s); see the tests of disks made by hand", err, out)
		return
	}
	if out, err := run("cd merged\n" + scenario); err != nil {
		t.Fatalf("scenario: %v\n%s", err, out)
	}
	want, err := run("tar --sort=name --format=pax -C merged -c . ")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run("umount merged; umount rw"); err != nil {
		t.Fatalf("unmount: %v\n%s", err, out)
	}
	got, err := merged(t, openDisk(t, base, Disk{}), openDisk(t, upper, Disk{Dir: "upper", Index: "work/index"}))
	if err != nil {
		t.Fatal(err)
	}
	if want := listTar(t, bytes.NewReader(want)); got != want {
		t.Errorf("export:\n%s\nmounted:\n%s", strings.ReplaceAll(got, " ", "\n"), strings.ReplaceAll(want, " ", "\n"))
	}
}

func openDisk(t *testing.T, path string, d Disk) Disk {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if d.FS, err = ext4.NewReader(f, info.Size()); err != nil {
		t.Fatal(err)
	}
	return d
}

func formatUpper(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := ext4.Format(context.Background(), f, 1<<30, ext4.Options{UUID: [16]byte{2}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeBase(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := ext4.NewWriter(f, ext4.Options{UUID: [16]byte{1}})
	file := func(content string) *ext4.Node {
		data, err := w.AddData(context.Background(), strings.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		return &ext4.Node{Mode: ext4.ModeRegular | 0o644, Data: data}
	}
	dir := func(children map[string]*ext4.Node) *ext4.Node {
		return &ext4.Node{Mode: ext4.ModeDir | 0o755, Children: children}
	}
	hard, linked := file("hard"), file("linked")
	root := dir(map[string]*ext4.Node{
		"gone": file("gone"), "changed": file("changed"), "large": file(strings.Repeat("large", 10_000)),
		"dir":      dir(map[string]*ext4.Node{"gone": dir(nil), "kept": file("kept"), "sub": dir(map[string]*ext4.Node{"deep": file("deep")})}),
		"replaced": dir(map[string]*ext4.Node{"old": file("old")}),
		"hard1":    hard, "hard2": hard, "link-a": linked, "link-b": linked,
		"renamed-file": file("renamed"),
	})
	if err := w.Finish(context.Background(), root); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
