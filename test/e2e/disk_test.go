package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// layer returns the file of a container's writable layer.
func (p *person) layer(name string) string {
	p.t.Helper()
	var all []struct{ Sandbox string }
	if err := json.Unmarshal([]byte(p.must("inspect", name)), &all); err != nil || len(all) != 1 {
		p.t.Fatalf("inspect: %v", err)
	}
	return filepath.Join(p.root, "sandboxes", all[0].Sandbox, "layer.img")
}

// mebibytes is what a file takes of the host's disk.
func mebibytes(t *testing.T, path string) int64 {
	t.Helper()
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Blocks * 512 >> 20
}

// TestE2EBlocksThatNoFileUsesAreGivenBack has a container that was cloned fill its layer and a volume, and remove what it wrote.
func TestE2EBlocksThatNoFileUsesAreGivenBack(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "-v", "data:/data", p.desk.busybox, "sh", "-c", "for f in /kept /data/kept; do [ -e $f ] || echo kept >$f; done; exec sleep 1000")
	if !p.cloned(name) {
		t.Error("it was not cloned")
	}
	templates, err := filepath.Glob(filepath.Join(p.root, "cache/qemu-hypervisor/templates/*/memory"))
	if err != nil || len(templates) != 1 {
		t.Fatalf("there are templates %v, %v", templates, err)
	}
	digest := digestOf(t, templates[0])
	const written, slack = 48, 8
	disks := map[string]string{"/": p.layer(name), "/data": p.volumes()[0].Path}
	before := map[string]int64{}
	for _, disk := range disks {
		before[disk] = mebibytes(t, disk)
	}
	fill := "for d in / /data; do head -c 48m /dev/urandom >$d/big || exit; done; sync; rm /big /data/big; sync"
	p.must("exec", name, "sh", "-c", fill)
	for at, disk := range disks {
		if now := mebibytes(t, disk); now < before[disk]+written-slack {
			t.Fatalf("the disk of %s had %d MiB, and now %d; %d were written", at, before[disk], now, written)
		}
	}
	p.must("fs", "trim", name)
	for at, disk := range disks {
		if now := mebibytes(t, disk); now > before[disk]+slack {
			t.Errorf("the disk of %s had %d MiB before, and has %d after the trim", at, before[disk], now)
		}
	}
	if digestOf(t, templates[0]) != digest {
		t.Error("the template has changed")
	}
	p.must("exec", name, "sh", "-c", "grep kept /kept && grep kept /data/kept && "+fill)
	p.must("stop", "-t", "0", name)
	for at, disk := range disks {
		p.agrees(disk)
		if now := mebibytes(t, disk); now < before[disk]+written-slack {
			t.Fatalf("the disk of %s has %d MiB though nobody has trimmed it since", at, now)
		}
	}
	p.must("fs", "trim", name)
	if now := mebibytes(t, disks["/"]); now > before[disks["/"]]+slack {
		t.Errorf("stopped: the layer has %d MiB after the trim", now)
	}
	p.must("start", name)
	p.must("exec", name, "sh", "-c", "grep kept /kept && grep kept /data/kept")
}

// TestE2EACopyOfAFrozenDiskIsOfThatMoment writes before, while and after the file system is frozen.
func TestE2EACopyOfAFrozenDiskIsOfThatMoment(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sleep", "1000")
	p.must("exec", name, "sh", "-c", "echo before >/before")
	p.must("fs", "freeze", name)
	// Its command returns; the write waits.
	p.must("exec", "-d", name, "sh", "-c", "echo meanwhile >/meanwhile")
	p.must("exec", name, "cat", "/before")
	frozen := filepath.Join(t.TempDir(), "frozen.img")
	if out, err := exec.Command("cp", "--sparse=always", p.layer(name), frozen).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.must("fs", "thaw", name)
	p.await("exec", name, "grep", "meanwhile", "/meanwhile")
	p.must("stop", "-t", "0", name)
	// As it was frozen there is no journal to replay.
	for copied, want := range map[string]string{frozen: "before\n", p.layer(name): "before\nmeanwhile\n"} {
		if out, err := exec.Command("e2fsck", "-fn", copied).CombinedOutput(); err != nil {
			t.Errorf("e2fsck: %v\n%s", err, out)
		}
		if got := written(t, copied, "before", "meanwhile"); got != want {
			t.Errorf("%s has %q, want %q", filepath.Base(copied), got, want)
		}
	}
}

// written returns what is in files of a layer, those that there are.
func written(t *testing.T, disk string, names ...string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range names {
		to := filepath.Join(t.TempDir(), name)
		if out, err := exec.Command("debugfs", "-R", "dump /upper/"+name+" "+to, disk).CombinedOutput(); err != nil {
			t.Fatalf("debugfs: %v\n%s", err, out)
		}
		text, err := os.ReadFile(to)
		if err == nil {
			all.Write(text)
		}
	}
	return all.String()
}

// TestE2EHowFastAContainerUsesItsDisks has a volume with limits, and the root without. It measures no time: what is limited would take hours, and does not end before what is not.
func TestE2EHowFastAContainerUsesItsDisks(t *testing.T) {
	p := me(t)
	name := p.name()
	volume := "io-" + name
	t.Cleanup(func() { p.vzctl("volume", "rm", volume) })
	p.must("create", "--name", name, "-v", volume+":/data", "--device-write-bps", "/data:1k", "--device-read-iops", "/data:1000", "--device-write-iops", "5000", p.desk.busybox, "sleep", "1000")
	p.must("start", name)
	limits := func() string {
		// The image's disk is the first, then the layer, then the volume.
		return p.must("exec", name, "sh", "-c", "sort -t: -k2n /sys/fs/cgroup/io.max | cut -d' ' -f2-")
	}
	root := "rbps=max wbps=max riops=max wiops=5000\n"
	if got, want := limits(), root+root+"rbps=max wbps=1024 riops=1000 wiops=max\n"; got != want {
		t.Fatalf("the limits are\n%swant\n%s", got, want)
	}
	write := func(to string) []string {
		return []string{"exec", name, "dd", "if=/dev/zero", "of=" + to, "bs=64k", "count=64", "oflag=direct", "status=none"}
	}
	ended := make(chan result, 1)
	go func() { ended <- p.vzctl(write("/data/slow")...) }()
	p.must(write("/fast")...)
	p.must(write("/fast")...)
	select {
	case r := <-ended:
		t.Fatalf("4 MiB at 1 KiB in a second were written before twice as much without a limit: %+v", r)
	default:
	}
	if r := p.vzctl("update", "--device-write-bps", "/etc:1m", name); r.code == 0 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "no disk is mounted there") {
		t.Errorf("no disk: %+v", r)
	}
	p.must("update", "--device-write-bps", "/data:-1", "--device-write-bps", "/:1g", name)
	if r := <-ended; r.code != 0 {
		t.Errorf("without the limit it ends with %+v", r)
	}
	root = "rbps=max wbps=1073741824 riops=max wiops=5000\n"
	if got, want := limits(), root+root+"rbps=max wbps=max riops=1000 wiops=max\n"; got != want {
		t.Errorf("the limits are\n%swant\n%s", got, want)
	}
	// What waits to be written at the end is not held up: this would take minutes, and a host does not wait as long.
	p.must("update", "--device-write-bps", "/data:64k", "--device-write-bps", "/:64k", name)
	sums := p.must("exec", name, "sh", "-c", "for f in /late /data/late; do for i in 1 2 3 4 5 6 7 8; do cat /bin/busybox; done > $f; done; md5sum /late /data/late")
	p.must("stop", "-t", "0", name)
	p.must("start", name)
	if got := p.must("exec", name, "md5sum", "/late", "/data/late"); got != sums {
		t.Errorf("after a stop there is\n%swant\n%s", got, sums)
	}
	if got := limits(); !strings.HasPrefix(got, "rbps=max wbps=65536 riops=max wiops=5000\n") {
		t.Errorf("started again, the limits are\n%s", got)
	}
}

// TestE2EJournalsOfTheWritableLayer asks the guest's kernel how it journals.
func TestE2EJournalsOfTheWritableLayer(t *testing.T) {
	for _, mode := range []string{"writeback", "ordered", "journal"} {
		t.Run(mode, func(t *testing.T) {
			p := me(t)
			name := p.name()
			p.must("run", "-d", "--name", name, "--storage-opt", "journal="+mode, "--storage-opt", "size=1g", p.desk.busybox, "sh", "-c", "echo written >/file; exec sleep 1000")
			options := p.must("exec", name, "sh", "-c", "for f in /proc/fs/ext4/*/options; do grep -qx rw $f && grep ^data= $f; done")
			if options != "data="+mode+"\n" {
				t.Errorf("the layer has %q", options)
			}
			p.must("stop", "-t", "0", name)
			p.agrees(p.layer(name))
			if out, err := exec.Command("dumpe2fs", "-h", p.layer(name)).CombinedOutput(); err != nil || !strings.Contains(string(out), "has_journal") {
				t.Errorf("there is no journal, %v", err)
			}
		})
	}
}
