package e2e

import (
	"path/filepath"
	"testing"
)

// TestE2EPruneFreesWhatNobodyUses removes what has ended, then its image, and then what the host keeps of it.
func TestE2EPruneFreesWhatNobodyUses(t *testing.T) {
	p := alone(t)
	p.must("run", "--name", "done", p.desk.busybox, "true")
	p.must("run", "-d", "--name", "busy", p.desk.busybox, "sleep", "1000")
	p.must("create", "--name", "new", p.desk.busybox, "true")
	if got := p.must("prune"); got != "done\nnew\n" && got != "new\ndone\n" {
		t.Errorf("pruned %q", got)
	}
	if got := p.must("image", "prune", "--all"); got != "" {
		t.Errorf("an image in use was removed: %q", got)
	}
	p.must("exec", "busy", "true")
	p.must("rm", "-f", "busy")
	if got := p.must("image", "prune"); got != "" {
		t.Errorf("without --all an image was removed: %q", got)
	}
	if got := p.must("image", "prune", "--all"); got != p.desk.busybox+"\n" {
		t.Errorf("pruned %q", got)
	}
	for _, kept := range []string{"containers/*", "sandboxes/*", "images/blobs/sha256/*", "rootfs/*.ext4"} {
		if left, err := filepath.Glob(filepath.Join(p.root, kept)); err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
	}
}
