package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestE2EAContainerEndsWithItsVirtiofsd has one container, whose virtiofsd is killed, and then its supervisor. Its processes would wait for ever for files that nobody serves.
func TestE2EAContainerEndsWithItsVirtiofsd(t *testing.T) {
	p := alone(t)
	dir := t.TempDir()
	write(t, "x\n", dir, "file")
	name := p.name()
	p.must("run", "-d", "--name", name, "--network", "none", "-v", dir+":/data:transport=virtiofs", p.desk.busybox, "sleep", "1000")
	p.must("pause", name)
	p.must("unpause", name)
	for _, victim := range []struct{ word, reason, message string }{
		{"virtiofsd --fd", "vm-crashed", dir + " is not shared any more"},
		{" supervise ", "lost", ""},
	} {
		if got := p.must("exec", name, "cat", "/data/file"); got != "x\n" {
			t.Errorf("the container reads %q", got)
		}
		kill9(t, p.victim(victim.word))
		if got := p.must("wait", name); got != "137\n" {
			t.Errorf("after %q was killed, wait printed %q", victim.word, got)
		}
		if c, _ := p.find(name); c.State != "stopped" || c.Reason != victim.reason {
			t.Errorf("after %q was killed, ls shows %+v", victim.word, c)
		}
		if got := p.must("inspect", name); !strings.Contains(got, victim.message) {
			t.Errorf("after %q was killed, inspect shows nothing of %q: %s", victim.word, victim.message, got)
		}
		p.nothingRuns()
		if mounts := read(t, "/proc/self/mountinfo"); strings.Contains(mounts, p.root) {
			t.Errorf("left mounted:\n%s", mounts)
		}
		p.must("start", name)
	}
	p.must("rm", "-f", name)
	p.nothingRuns()
}

// TestE2EAGuestStaysInWhatVirtiofsdServes has a guest open directories by numbers that it makes up, and go up from there, with and without what its kernel knows already. It
// does as well what files of a local disk can, and those by 9p cannot.
func TestE2EAGuestStaysInWhatVirtiofsdServes(t *testing.T) {
	p := me(t)
	dir := t.TempDir()
	write(t, "secret\n", dir, "outside")
	write(t, "x\n", dir, "data", "a", "b", "c", "file")
	output := p.must("run", "--rm", "--privileged", "--network", "none", "-v", dir+"/data:/data:transport=virtiofs", p.desk.imageWith(t, "handles"), "sh", "-c", try+`
		handles /data; ls -R /data >/dev/null; echo 3 >/proc/sys/vm/drop_caches; handles /data | grep names | sed s/names/again/
		cd /data; try fifo mkfifo fifo; rm fifo
		echo gone >file; exec 3<file; rm file; echo "removed=$(cat <&3)"`)
	expect(t, output, map[string]string{"type": "0x81", "opened": "true", "names": "a b c file", "again": "a b c file", "fifo": "done", "removed": "gone"})
	if left, err := os.ReadDir(filepath.Join(dir, "data")); len(left) != 1 || err != nil {
		t.Errorf("left in the directory are %v, %v", left, err)
	}
}
