package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// someFiles makes a tree with what a copy must keep.
func someFiles(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	holes := filepath.Join(dir, "holes")
	must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o750), os.WriteFile(filepath.Join(dir, "file"), []byte("of the host\n"), 0o640),
		os.Symlink("../file", filepath.Join(dir, "sub/link")), os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "sub/twin")),
		os.WriteFile(holes, []byte("x"), 0o600), os.Truncate(holes, 64<<20),
		unix.Setxattr(filepath.Join(dir, "file"), "user.note", []byte("kept"), 0))
	return dir
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// sameTree compares copies, as far as a copy that is not -a goes.
func sameTree(t *testing.T, got, want string) {
	t.Helper()
	links := map[uint64]int{}
	must(t, filepath.WalkDir(want, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(want, path)
		if err != nil {
			return err
		}
		var is, was unix.Stat_t
		if err := errors.Join(unix.Lstat(filepath.Join(got, name), &is), unix.Lstat(path, &was)); err != nil {
			return err
		}
		if is.Mode != was.Mode || is.Mtim != was.Mtim || is.Nlink != was.Nlink || is.Mode&unix.S_IFMT == unix.S_IFREG && (is.Size != was.Size || is.Blocks > was.Blocks+64) {
			t.Errorf("%s is %+v, was %+v", name, is, was)
		}
		links[is.Ino]++
		return nil
	}))
	content, err := os.ReadFile(filepath.Join(got, "sub/link"))
	value := make([]byte, 10)
	n, attrErr := unix.Getxattr(filepath.Join(got, "file"), "user.note", value)
	must(t, err, attrErr)
	if string(content) != "of the host\n" || string(value[:n]) != "kept" {
		t.Errorf("content %q, attribute %q", content, value[:n])
	}
}

func tarNames(t *testing.T, tarball string) (names []string) {
	t.Helper()
	r := tar.NewReader(strings.NewReader(tarball))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		must(t, err)
		names = append(names, h.Name)
	}
}

func TestE2ECopy(t *testing.T) {
	p := me(t)
	name := p.name()
	tree := someFiles(t)
	out := t.TempDir()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c",
		"mkdir /d; echo mine > /d/mine; ln -s /etc/passwd /outward; ln -s / /d/up; mkfifo /d/fifo; echo of memory > /dev/shm/f; exec sleep 1000")
	p.await("exec", name, "test", "-e", "/dev/shm/f")

	thereAndBack := func(t *testing.T, target string) {
		t.Helper()
		p := p.with(t)
		p.must("cp", tree, name+":"+target) // where nothing is: under this name
		back := filepath.Join(out, target)
		p.must("cp", name+":"+target, back)
		sameTree(t, back, tree)
	}
	t.Run("of one that runs", func(t *testing.T) {
		t.Run("a tree goes there and back", func(t *testing.T) {
			thereAndBack(t, "/tree-running")
			p := p.with(t)
			target, back := "/tree-running", filepath.Join(out, "tree-running")
			p.must("cp", tree, name+":"+target)                  // where a directory is: into it
			p.must("cp", tree+"/.", name+":"+target+"/tree/sub") // what is in it
			p.must("cp", name+":"+target+"/tree/.", back)
			if content, err := os.ReadFile(filepath.Join(back, "sub/sub/link")); err != nil || string(content) != "of the host\n" {
				t.Errorf("%q, %v", content, err)
			}
		})
		t.Run("tars", func(t *testing.T) {
			p := p.with(t)
			tarball := p.must("cp", name+":/d", "-")
			if got := tarNames(t, tarball); !slices.Equal(got, []string{"d/", "d/fifo", "d/mine", "d/up"}) {
				t.Errorf("the tar has %q", got)
			}
			if r := p.vzctlWith(tarball, "cp", "-", name+":/tmp"); r.code != 0 {
				t.Fatalf("%+v", r)
			}
			p.must("cp", name+":/tmp/d/mine", filepath.Join(out, "mine"))
			if content, err := os.ReadFile(filepath.Join(out, "mine")); err != nil || string(content) != "mine\n" {
				t.Errorf("%q, %v", content, err)
			}
		})
		t.Run("refusals", func(t *testing.T) {
			p := p.with(t)
			for _, test := range []struct {
				args []string
				says string
			}{
				{[]string{name + ":/nowhere", out}, "no such file"},
				{[]string{filepath.Join(tree, "nothing"), name + ":/"}, "no such file"},
				{[]string{filepath.Join(tree, "file"), name + ":/no/such/dir"}, "no such file"},
				{[]string{filepath.Join(tree, "file"), name + ":/nodir/"}, "no such"},
				{[]string{tree, name + ":/d/mine"}, "not a directory"},
				{[]string{filepath.Join(tree, "file") + "/", name + ":/"}, "not a directory"},
				{[]string{filepath.Join(tree, "file"), name + ":/proc/1/root/x"}, ""},
			} {
				if r := p.vzctl(append([]string{"cp"}, test.args...)...); r.code == 0 || !strings.Contains(r.stderr, test.says) {
					t.Errorf("cp %q: exit code %d, %q; want %q", test.args, r.code, r.stderr, test.says)
				}
			}
		})
	})
	t.Run("a running container's mounts are seen, and its links stay within", func(t *testing.T) {
		p := p.with(t)
		if got := p.must("cp", name+":/dev/shm/f", "-"); !strings.Contains(got, "of memory") {
			t.Errorf("%q", got)
		}
		p.must("cp", "-L", name+":/outward", filepath.Join(out, "passwd"))
		theirs := p.must("exec", name, "cat", "/etc/passwd")
		if content, err := os.ReadFile(filepath.Join(out, "passwd")); err != nil || string(content) != theirs {
			t.Errorf("%q, %v", content, err)
		}
		p.must("cp", filepath.Join(tree, "file"), name+":/d/up/tmp/through")
		if got := p.must("exec", name, "cat", "/tmp/through"); got != "of the host\n" {
			t.Errorf("%q", got)
		}
		if got := p.must("cp", name+":/proc/meminfo", "-"); !strings.Contains(got, "MemTotal") {
			t.Errorf("%q", got)
		}
		r := p.vzctl("cp", name+":/d", filepath.Join(out, "d"))
		if r.code != 0 || !strings.Contains(r.stderr, "fifo") {
			t.Errorf("%+v", r)
		}
		if owner := p.must("exec", name, "stat", "-c", "%u:%g %a", "/tree-running/file"); owner != "0:0 640\n" {
			t.Errorf("a copy is %q", owner)
		}
	})
	t.Run("what is broken leaves no half file", func(t *testing.T) {
		p := p.with(t)
		tarball := p.must("cp", name+":/bin/busybox", "-")
		if r := p.vzctlWith(tarball[:len(tarball)/2], "cp", "-", name+":/srv-"); r.code == 0 {
			t.Error("half a tar was taken for a whole one")
		}
		if r := p.vzctlWith(tarball[:len(tarball)/2], "cp", "-", name+":/tmp"); r.code == 0 {
			t.Error("half a tar was taken for a whole one")
		}
		if got := p.must("exec", name, "sh", "-c", "ls -A /tmp | grep -v -e ^d$ -e ^through$ || true"); got != "" {
			t.Errorf("left in the container: %q", got)
		}
	})

	p.must("pause", name)
	if r := p.vzctl("cp", name+":/d/mine", "-"); r.code == 0 || !strings.Contains(r.stderr, "vzctl unpause "+name) {
		t.Errorf("of one that is paused: %+v", r)
	}
	p.must("unpause", name)
	p.must("stop", "-t", "0", name)
	before, _ := p.find(name)
	t.Run("of one that is stopped", func(t *testing.T) { thereAndBack(t, "/tree-stopped") })
	if r := p.vzctl("cp", name+":/dev/shm/f", "-"); r.code == 0 || !strings.Contains(r.stderr, "no such file") {
		t.Errorf("what was in memory: %+v", r)
	}
	after, _ := p.find(name)
	if after.State != "stopped" || after.Reason != before.Reason || *after.ExitCode != *before.ExitCode {
		t.Errorf("after copies of files it is %+v, before %+v", after, before)
	}
	p.nothingRuns()
	p.must("start", name)
	if got := p.must("exec", name, "cat", "/tree-stopped/sub/link"); got != "of the host\n" {
		t.Errorf("a file that was copied to a stopped container: %q", got)
	}
	p.must("rm", "-f", name)
}

// with is the same person in a part of a test.
func (p *person) with(t *testing.T) *person {
	q := *p
	q.t = t
	return &q
}

func TestE2EExportDiffCommit(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", `
		echo new > /new; echo more >> /etc/passwd; rm /etc/group; mkdir /dir; echo a > /dir/a; mv /dir /renamed
		mkdir /home/app/deep; echo d > /home/app/deep/f; mv /home /moved; mkdir /home; echo h > /home/h; chmod 700 /bin/busybox; ln /new /hard; ln -s /new /soft
		touch /tmp/ready; exec sleep 1000`)
	p.await("exec", name, "test", "-e", "/tmp/ready")
	diff := p.must("diff", name)
	for _, want := range []string{"A /new", "C /etc/passwd", "D /etc/group", "A /renamed", "A /renamed/a", "A /moved", "A /moved/app", "A /moved/app/deep/f", "D /home/app", "C /bin/busybox", "A /hard", "A /home/h"} {
		if !strings.Contains(diff, want+"\n") {
			t.Errorf("diff has no %q:\n%s", want, diff)
		}
	}
	for _, strange := range []string{"/etc/hosts", "/etc/resolv.conf", "/proc", "/sys", "/dev"} {
		if strings.Contains(diff, strange) {
			t.Errorf("diff has %q, which no process of the container made:\n%s", strange, diff)
		}
	}
	p.must("commit", "-m", "changed", "-a", "me", "--change", `CMD ["cat", "/new"]`, "--change", "ENV COMMITTED=yes", name, "committed:"+name)
	t.Cleanup(func() { p.vzctl("image", "rm", "committed:"+name) })
	p.must("stop", "-t", "0", name)
	if stopped := p.must("diff", name); stopped != diff {
		t.Errorf("stopped it has changed\n%s\nand before\n%s", stopped, diff)
	}
	file := filepath.Join(t.TempDir(), "root.tar")
	p.must("export", "-o", file, name)
	tarball, err := os.ReadFile(file)
	must(t, err)
	names := tarNames(t, string(tarball))
	for _, want := range []string{"new", "renamed/a", "bin/busybox", "home/h", "moved/app/"} {
		if !slices.Contains(names, want) {
			t.Errorf("the export has no %q", want)
		}
	}
	if slices.Contains(names, "etc/group") {
		t.Error("the export has what was removed")
	}
	p.must("rm", name)

	// What was committed is what was there.
	second := p.name()
	if got := p.must("run", "--rm", "--name", second, "committed:"+name); got != "new\n" {
		t.Errorf("the image's command printed %q", got)
	}
	look := `echo $COMMITTED; cat /etc/passwd | tail -n 1; ls /etc/group 2>/dev/null; ls /renamed /home; stat -c %a /bin/busybox; stat -c %h /new; readlink /soft; cat /moved/app/deep/f; cat /hard`
	if got := p.must("run", "--rm", "--name", second, "committed:"+name, "sh", "-c", look); got != "yes\nmore\n/home:\nh\n\n/renamed:\na\n700\n2\n/new\nd\nnew\n" {
		t.Errorf("the committed image shows %q", got)
	}
	var image []struct {
		Config struct {
			History []struct{ Comment, Author string }
		}
	}
	must(t, json.Unmarshal([]byte(p.must("image", "inspect", "committed:"+name)), &image))
	if h := image[0].Config.History; len(h) == 0 || h[len(h)-1].Comment != "changed" || h[len(h)-1].Author != "me" {
		t.Errorf("history %+v", h)
	}
}

// await repeats a command until it succeeds, as a person would.
func (p *person) await(args ...string) {
	p.t.Helper()
	for range 100 {
		if p.vzctl(args...).code == 0 {
			return
		}
	}
	p.t.Fatalf("vzctl %q does not succeed", args)
}

func TestE2EAFrozenFileSystemLetsTheContainerEnd(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", "while true; do date > /now; sleep 0.1; done")
	p.must("fs", "freeze", name)
	if r := p.vzctl("fs", "freeze", name); r.code == 0 || !strings.Contains(r.stderr, "frozen already") {
		t.Errorf("twice: %+v", r)
	}
	p.must("fs", "thaw", name)
	if r := p.vzctl("fs", "thaw", name); r.code == 0 || !strings.Contains(r.stderr, "of container \""+name+"\": it is not frozen") {
		t.Errorf("thawed twice: %+v", r)
	}
	p.must("fs", "freeze", name)
	p.must("stop", "-t", "1", name)
	if c, _ := p.find(name); c.State != "stopped" || c.Reason != "killed" {
		t.Errorf("it is %+v", c)
	}
	p.must("start", name)
	p.must("exec", name, "test", "-e", "/now")
}

// TestE2EWritesOutliveACrash kills QEMU in the middle of writes: what was synced is there, the journal is replayed, and nothing is wrong with the file system. A stop loses
// nothing, without any sync.
func TestE2EWritesOutliveACrash(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c",
		"if [ ! -e /synced ]; then echo safe > /synced; sync; echo > /ready; while true; do i=$((i+1)); mkdir -p /d$i; cat /bin/busybox > /d$i/f; [ $i = 8 ] && echo > /eight; rm -rf /d$((i-5)); done; fi; head -c 3000000 /dev/zero > /late; exec sleep 1000")
	p.await("exec", name, "test", "-e", "/eight")
	kill9(t, p.victim("qemu-system-"))
	p.must("wait", name)
	p.must("start", name)
	p.await("exec", name, "sh", "-c", "test $(stat -c %s /late) = 3000000")
	if got := p.must("exec", name, "cat", "/synced"); got != "safe\n" {
		t.Errorf("after the crash: %q", got)
	}
	p.must("stop", "-t", "0", name)
	layers, err := filepath.Glob(filepath.Join(p.root, "sandboxes", "*", "layer.img"))
	if err != nil || len(layers) != 1 {
		t.Fatalf("layers %q, %v", layers, err)
	}
	if out, err := exec.Command("e2fsck", "-fn", layers[0]).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	if got := p.must("cp", name+":/late", "-"); len(got) < 3_000_000 || bytes.Count([]byte(got), []byte{0}) < 3_000_000 {
		t.Errorf("of what was written last %d bytes are there", len(got))
	}
}
