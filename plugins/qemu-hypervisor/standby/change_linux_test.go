package standby

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// Whoever writes to a layer what mounting it has changed may be killed at any block: then it is what a crash leaves, whose journal any kernel replays.
func TestALayerCanBeMountedWhereverItsChangeEnds(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	dir := t.TempDir()
	blank, used, at := filepath.Join(dir, "blank"), filepath.Join(dir, "used"), filepath.Join(dir, "at")
	command(t, "mkfs.ext4", "-q", "-b", "4096", "-O", "metadata_csum,64bit", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-J", "size=4", blank, "64m")
	command(t, "debugfs", "-w", "-R", "mkdir upper", blank)
	command(t, "debugfs", "-w", "-R", "mkdir work", blank)
	command(t, "cp", "--sparse=always", blank, used)
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-t", "ext4", "-o", "loop,noinit_itable", used, at)
	mounted := true
	defer func() {
		if mounted {
			command(t, "umount", at)
		}
	}()
	for _, name := range []string{"work/work", "work/index"} { // as an overlay does
		if err := os.Mkdir(filepath.Join(at, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Syncfs(int(fs.Fd())), fs.Close()); err != nil {
		t.Fatal(err)
	}
	open := func(name string) *os.File {
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		return file
	}
	before, after := must(t, open(blank)), must(t, open(used))
	command(t, "umount", at)
	mounted = false
	j, ok := journalOf(before)
	if !ok {
		t.Fatal("it has no journal that is found")
	}
	if _, ok := journalOf(after); ok {
		t.Error("one that was mounted is taken for one that was not")
	}
	all := changeOf(before, after, j)
	if len(all.blocks) < 8 {
		t.Fatalf("%d blocks are changed", len(all.blocks))
	}
	for n := range len(all.blocks) + 1 {
		cut := filepath.Join(dir, fmt.Sprint("cut", n))
		command(t, "cp", "--sparse=always", blank, cut)
		if err := (change{before, all.blocks[:n]}).make(open(cut)); err != nil {
			t.Fatal(err)
		}
		for i, args := range [][]string{{"-E", "journal_only", "-y"}, {"-f", "-n"}} {
			out, err := exec.Command("e2fsck", append(args, cut)...).CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || i > 0 || exit.ExitCode() > 1) {
				t.Errorf("after %d of %d blocks: %v\n%s", n, len(all.blocks), err, out)
			}
		}
		if err := os.Remove(cut); err != nil {
			t.Fatal(err)
		}
	}
}
