package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vzctl/vzctl/test/fixtures/image"
)

// volumeImage has a VOLUME, and something in it.
func (d *desk) volumeImage(t *testing.T) string {
	t.Helper()
	data := image.Dir("data", 0o750)
	data.Uid, data.Gid = 1000, 1000
	file := image.File("data/dir/file", 0o640, "of the image\n")
	file.Uid, file.Gid = 1000, 2000
	layer, layerErr := image.NewLayer(data, image.Dir("data/dir", 0o700), file, image.Link("data/link", "/etc/passwd"))
	system, err := image.Busybox()
	repository, repositoryErr := d.registry.Repository("volume")
	if err := errors.Join(layerErr, err, repositoryErr); err != nil {
		t.Fatal(err)
	}
	system.Layers = append(system.Layers, layer)
	system.Config.Volumes = map[string]struct{}{"/data": {}}
	if _, err := system.Push(context.Background(), repository, "latest"); err != nil {
		t.Fatal(err)
	}
	return d.registry.Addr + "/volume:latest"
}

// volume is an element of volume inspect.
type volume struct {
	Name, Path     string
	Anonymous      bool
	SizeBytes      int64
	AllocatedBytes int64
	Containers     []string
}

func (p *person) volumes() (all []volume) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.must("volume", "ls", "--format", "json")), &all); err != nil {
		p.t.Fatal(err)
	}
	return all
}

func TestE2EAVolumeOutlivesItsContainers(t *testing.T) {
	p := alone(t)
	withVolume := p.desk.volumeImage(t)
	p.must("volume", "create", "--size", "64m", "--label", "a=b", "--opt", "journal=journal", "db")
	// A container that is removed at its end has flushed what it wrote all the same.
	output := p.must("run", "--rm", "-v", "db:/data", "--storage-size", "1g", withVolume, "sh", "-c", `
		echo "dir=$(stat -c %u:%g:%a /data)"; echo "file=$(stat -c %u:%g:%a /data/dir/file) $(cat /data/dir/file)"; echo "link=$(readlink /data/link)"
		echo kept >/data/kept; rm /data/link
		echo "mode=$(grep -c ' /data ext4 .*data=journal' /proc/mounts)"
		echo "size=$(df -m /data | awk 'END { print ($2 > 40 && $2 < 64) }')"; echo "root=$(df -m / | awk 'END { print ($2 > 800 && $2 < 1024) }')"`)
	expect(t, output, map[string]string{"dir": "1000:1000:750", "file": "1000:2000:640 of the image", "link": "/etc/passwd", "mode": "1", "size": "1", "root": "1"})
	all := p.volumes()
	if len(all) != 1 || all[0].Name != "db" || all[0].SizeBytes != 64<<20 || all[0].AllocatedBytes > 16<<20 || len(all[0].Containers) != 0 {
		t.Fatalf("volumes are %+v", all)
	}

	p.must("run", "-d", "--name", "writer", "-v", "db:/data", withVolume, "sleep", "1000")
	if got := p.must("exec", "writer", "sh", "-c", "cat /data/kept; ls /data"); got != "kept\ndir\nkept\n" { // what was removed does not come back
		t.Errorf("the volume has %q", got)
	}
	for name, refused := range map[string][]string{
		"another writer": {"run", "--rm", "-v", "db:/data", p.desk.busybox, "true"},
		"a reader":       {"run", "--rm", "-v", "db:/data:ro", p.desk.busybox, "true"},
		"removal":        {"volume", "rm", "db"},
	} {
		if r := p.vzctl(refused...); r.code == 0 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, `"db"`) || !strings.Contains(r.stderr, `"writer"`) {
			t.Errorf("%s beside a writer: code %d, %q", name, r.code, r.stderr)
		}
	}
	p.must("exec", "writer", "sh", "-c", "echo synced >/data/synced; sync; echo lost >/data/lost")
	p.crash("writer")
	p.agrees(all[0].Path)
	p.must("start", "writer")
	if got := p.must("exec", "writer", "cat", "/data/synced"); got != "synced\n" {
		t.Errorf("after the crash the volume has %q", got)
	}
	p.must("stop", "-t", "0", "writer")
	if got := p.must("cp", "writer:/etc/os-release", "-"); !strings.Contains(got, "ID=busybox") { // of its root, without mounts
		t.Errorf("of a stopped container with a volume cp gives %q", got)
	}
	p.must("rm", "writer")
	p.must("run", "-d", "--name", "reader", "-v", "db:/data:ro", p.desk.busybox, "sleep", "1000")
	output = p.must("run", "--rm", "-v", "db:/data:ro", p.desk.busybox, "sh", "-c", try+`cat /data/kept; try write touch /data/x`)
	if output != "kept\nwrite=Read-only file system\n" {
		t.Errorf("the second of two readers says %q", output)
	}
	p.must("rm", "-f", "reader")
	p.must("volume", "rm", "db")
	if all := p.volumes(); len(all) > 0 {
		t.Errorf("left: %+v", all)
	}
}

func TestE2EVolumesWithoutAName(t *testing.T) {
	p := alone(t)
	withVolume := p.desk.volumeImage(t)
	if got := p.must("run", "--rm", "-v", "/other", withVolume, "sh", "-c", "grep -c -E ' /(data|other) ext4 ' /proc/mounts"); got != "2\n" {
		t.Errorf("%s volumes are mounted", got)
	}
	if all := p.volumes(); len(all) > 0 {
		t.Errorf("--rm left %+v", all)
	}
	p.must("create", "--name", "one", withVolume, "true")
	p.must("create", "--name", "two", withVolume, "true")
	if all := p.volumes(); len(all) != 2 || !all[0].Anonymous || len(all[0].Containers) != 1 {
		t.Fatalf("volumes are %+v", all)
	}
	p.must("rm", "-v", "one")
	p.must("rm", "two")
	all := p.volumes()
	if len(all) != 1 {
		t.Fatalf("rm -v removes its own, rm none; there are %+v", all)
	}
	if got := p.must("volume", "prune"); got != all[0].Name+"\n" || len(p.volumes()) > 0 {
		t.Errorf("prune removed %q", got)
	}
}

// crash kills the QEMU of a container, and waits until the container is known to have ended.
func (p *person) crash(name string) {
	p.t.Helper()
	for pid, line := range p.processes() {
		if strings.Contains(line, "qemu-system-") && !strings.Contains(line, "/qemu-hypervisor") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	p.must("wait", name)
}

// agrees has e2fsck replay the journal of a copy of a disk, and find nothing else to do.
func (p *person) agrees(path string) {
	p.t.Helper()
	to := filepath.Join(p.t.TempDir(), "disk")
	if out, err := exec.Command("cp", "--sparse=always", path, to).CombinedOutput(); err != nil {
		p.t.Fatalf("%v\n%s", err, out)
	}
	for i, args := range [][]string{{"-E", "journal_only", "-y"}, {"-f", "-n"}} {
		out, err := exec.Command("e2fsck", append(args, to)...).CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || i > 0 || exit.ExitCode() > 1) {
			p.t.Errorf("e2fsck %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestE2ECheckpointsAndVolumes(t *testing.T) {
	p := alone(t)
	p.must("run", "-d", "--name", "web", "--network", "none", "-v", "db:/data", p.desk.busybox, "sh", "-c", "echo before >/data/file; exec sleep 1000 3>>/data/file")
	if r := p.vzctl("checkpoint", "--leave-running", "web"); r.code == 0 || !strings.Contains(r.stderr, "/data") {
		t.Errorf("a copy beside one that goes on: code %d, %q", r.code, r.stderr)
	}
	p.must("checkpoint", "web")
	p.must("restore", "-d", "web")
	if got := p.must("exec", "web", "sh", "-c", "echo after >>/data/file; cat /data/file"); got != "before\nafter\n" {
		t.Errorf("the volume has %q", got)
	}
	p.must("checkpoint", "web")
	p.must("run", "--rm", "--network", "none", "-v", "db:/data", p.desk.busybox, "sh", "-c", "echo other >>/data/file")
	if r := p.vzctl("restore", "-d", "web"); r.code == 0 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "changed since") {
		t.Errorf("after another has written: code %d, %q", r.code, r.stderr)
	}
}
