package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// owners are whose files of a tar are.
func owners(t *testing.T, tarball string) map[string]string {
	t.Helper()
	found := map[string]string{}
	r := tar.NewReader(strings.NewReader(tarball))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		must(t, err)
		found[strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")] = fmt.Sprintf("%d:%d", h.Uid, h.Gid)
	}
}

// listed is a list of who may read a file: its owner, user 1000, and nobody else.
const listed = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" + "\x04\x00\x00\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"

// attributed is a tar of busybox with the capability to change owners, for whoever executes it, and of a file that besides root one user may read.
func attributed(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile("/usr/bin/busybox")
	must(t, err)
	attribute := binary.LittleEndian.AppendUint32(nil, 0x02000001) // revision 2, effective
	attribute = append(binary.LittleEndian.AppendUint32(attribute, 1), make([]byte, 12)...)
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	must(t, w.WriteHeader(&tar.Header{Name: "busybox-capable", Mode: 0o755, Size: int64(len(program)), PAXRecords: map[string]string{"SCHILY.xattr.security.capability": string(attribute)}}))
	_, err = w.Write(program)
	must(t, err, w.WriteHeader(&tar.Header{Name: "listed", Mode: 0o640, PAXRecords: map[string]string{"SCHILY.xattr.system.posix_acl_access": listed}}), w.Close())
	return text.String()
}

// TestE2EAContainerInAUserNamespace goes through the life of one.
func TestE2EAContainerInAUserNamespace(t *testing.T) {
	p := me(t)
	name, volume, image := p.name(), p.name(), "mapped:"+p.name()
	t.Cleanup(func() { p.vzctl("image", "rm", image) })
	offered := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", offered)
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	p.must("run", "-d", "--name", name, "--userns", "auto", "--init", "--socket", offered+":/var/run/root", "--socket", offered+":/var/run/other:mode=0666,uid=7,gid=8", "-v", volume+":/home", "--tmpfs", "/scratch:uid=1000,mode=700", "--ulimit", "nofile=100:600000",
		"--sysctl", "kernel.msgmax=1234", "--group-add", "77", "--hostname", "box", p.desk.busybox, "sh", "-c", "echo begun >/begun; sleep 1000")
	const capEffective = "CapEff:\t0000000000000001\n"
	const owner = `owner() { for f; do echo "$f=$(stat -c %u:%g $f)"; done; }
`
	t.Run("inside", func(t *testing.T) {
		p := me(t)
		output := p.must("exec", name, "sh", "-c", status+try+owner+`
			status
			echo "uids=$(tr -s ' ' ' ' </proc/self/uid_map)"; echo "gids=$(tr -s ' ' ' ' </proc/self/gid_map)"; echo "user=$(id -u)"
			echo "namespace=$([ $(readlink /proc/1/ns/user) = $(readlink /proc/self/ns/user) ] && echo the same)"
			echo mine >/mine; echo app >/of-app; chown app:app /of-app; echo data >/home/data; chown app:extra /home/data; chmod 4711 /of-app
			owner / /etc/passwd /etc/hosts /begun /mine /of-app /home/data /home/app /scratch /dev/null /dev/shm /dev/pts/ptmx /var/run/root /var/run/other
			echo "nofile=$(ulimit -n):$(ulimit -Hn)"; echo "msgmax=$(cat /proc/sys/kernel/msgmax)"; echo "hostname=$(hostname)"
			nc -l -p 80 & for i in $(seq 200); do cat /proc/net/tcp* | grep -q ':0050 0*:0000 0A' && echo port=80 && break; sleep 0.2; done; kill $!
			try ping ping -c 1 -W 10 127.0.0.1 # by a raw socket
			try sysctl sh -c 'echo 1 >/proc/sys/kernel/panic'; try link ip link set lo mtu 65000; try unshare unshare -m true; try disk sh -c 'mknod /tmp/disk b 254 0 && cat /tmp/disk'
			su app -c 'cat /home/data; touch /scratch/x && echo scratch=written; touch /x 2>/dev/null || echo root=kept'; true`)
		expect(t, output, map[string]string{
			"uids": " 0 100000 65536", "gids": " 0 100000 65536", "user": "0", "namespace": "the same",
			"CapInh": none, "CapPrm": fourteen, "CapEff": fourteen, "CapBnd": fourteen, "CapAmb": none, "Seccomp": "2", "Groups": "77",
			"/": "0:0", "/etc/passwd": "0:0", "/etc/hosts": "0:0", "/begun": "0:0", "/mine": "0:0", "/of-app": "1000:1000", "/home/data": "1000:2000", "/home/app": "1000:1000", "/scratch": "1000:0",
			"/dev/null": "0:0", "/dev/shm": "0:0", "/dev/pts/ptmx": "0:0", "/var/run/root": "0:0", "/var/run/other": "7:8",
			"nofile": "100:600000", "msgmax": "1234", "hostname": "box", "port": "80", "ping": "permission denied (are you root?)", "sysctl": "Read-only file system", "link": "Operation not permitted", "unshare": "Operation not permitted",
			"disk": "Operation not permitted", "scratch": "written", "root": "kept",
		})
		expect(t, p.must("exec", "-u", "app", name, "sh", "-c", status+`status; echo "who=$(id -un)"; touch /tmp/x; stat -c x=%u:%g /tmp/x`), map[string]string{
			"CapPrm": none, "CapEff": none, "CapBnd": fourteen, "Groups": "77 1000 2000", "who": "app", "x": "1000:1000"})
		expect(t, p.must("exec", "--privileged", name, "sh", "-c", status+try+"status; try link ip link set lo mtu 65000"), map[string]string{"CapEff": all, "CapBnd": all, "link": "Operation not permitted"})
		if out := p.must("exec", "-t", "-u", "app", name, "sh", "-c", "stat -c %u:%g $(tty); echo x >/dev/stdout"); out != "1000:5\r\nx\r\n" {
			t.Errorf("on a terminal: %q", out)
		}
		if out := p.must("top", name); !strings.Contains(out, "root") || strings.Contains(out, "100000") {
			t.Errorf("its processes:\n%s", out)
		}
		if r := p.vzctl("exec", "-u", "70000", name, "true"); r.code != 125 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "70000") {
			t.Errorf("a user who is not in the map: exit code %d, stderr %q", r.code, r.stderr)
		}
	})
	t.Run("the runtime spec", func(t *testing.T) {
		var spec specs.Spec
		must(t, json.Unmarshal([]byte(me(t).must("inspect", "--oci", name)), &spec))
		want := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
		if !slices.Equal(spec.Linux.UIDMappings, want) || !slices.Equal(spec.Linux.GIDMappings, want) || !slices.Contains(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace}) {
			t.Errorf("it has %+v", spec.Linux)
		}
	})
	t.Run("its files from outside", func(t *testing.T) {
		p := me(t)
		file := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755))
		p.must("cp", file, name+":/new")
		p.must("cp", file, name+":/scratch/file")
		expect(t, p.must("exec", name, "sh", "-c", owner+"owner /new /scratch/file"), map[string]string{"/new": "0:0", "/scratch/file": "0:0"})
		if r := p.vzctlWith(attributed(t), "cp", "-", name+":/"); r.code != 0 || r.stderr != "" {
			t.Errorf("cp of files with attributes: %+v", r)
		}
		if r := p.vzctl("exec", "-u", "app", name, "cat", "/listed"); r.code != 0 {
			t.Errorf("who may read a file: %+v", r)
		}
		if r := p.vzctl("exec", "-u", "1001", name, "cat", "/listed"); r.code != 1 {
			t.Errorf("who may not read a file: %+v", r)
		}
		if tarball := p.must("cp", name+":/listed", "-"); !strings.Contains(tarball, "system.posix_acl_access="+listed) {
			t.Errorf("the list does not come back as it was")
		}
		if out := p.must("exec", "-u", "app", name, "/busybox-capable", "grep", "CapEff", "/proc/self/status"); out != capEffective {
			t.Errorf("the capability of a file gives %q", out)
		}
		for of, want := range map[string]string{"of-app": "1000:1000", "home/data": "1000:2000", "etc/passwd": "0:0"} {
			if found := owners(t, p.must("cp", name+":/"+of, "-")); found[filepath.Base(of)] != want {
				t.Errorf("cp of %s gives %v, want %s", of, found, want)
			}
		}
		p.must("cp", "-a", name+":/of-app", filepath.Dir(file))
		info, err := os.Stat(filepath.Join(filepath.Dir(file), "of-app"))
		must(t, err)
		if stat := info.Sys().(*syscall.Stat_t); os.Geteuid() == 0 && stat.Uid != 1000 {
			t.Errorf("cp -a gives it to user %d", stat.Uid)
		}
		if diff := p.must("diff", name); !strings.Contains(diff, "A /of-app\n") || strings.Contains(diff, "/etc/hosts") {
			t.Errorf("changes:\n%s", diff)
		}
		exported := owners(t, p.must("export", name))
		for path, want := range map[string]string{"of-app": "1000:1000", "mine": "0:0", "etc/passwd": "0:0", "bin/busybox": "0:0"} {
			if exported[path] != want {
				t.Errorf("export has %s of %q, want %s", path, exported[path], want)
			}
		}
		p.must("commit", name, image)
	})
	t.Run("what a container without one sees of it", func(t *testing.T) {
		p := me(t)
		p.must("stop", "-t", "1", name) // a volume has one user
		output := p.must("run", "--rm", "-v", volume+":/home", "-u", "app", image, "sh", "-c", "/busybox-capable grep CapEff /proc/self/status; cat /listed; echo listed=$?; "+owner+"owner /mine /of-app /new /home/data /home/app; stat -c mode=%a /of-app")
		if !strings.HasPrefix(output, capEffective) {
			t.Errorf("the capability of a file gives %q", output)
		}
		expect(t, output, map[string]string{"/mine": "0:0", "/of-app": "1000:1000", "/new": "0:0", "/home/data": "1000:2000", "/home/app": "1000:1000", "mode": "4711", "listed": "0"})
	})
	t.Run("started again, saved and restored, and stopped", func(t *testing.T) {
		p := me(t)
		const look = "id -u; stat -c %u:%g /mine /of-app /home/data; echo more >>/of-app"
		const want = "0\n0:0\n1000:1000\n1000:2000\n"
		p.must("start", name)
		if out := p.must("exec", name, "sh", "-c", look); out != want {
			t.Errorf("after it was started again: %q", out)
		}
		p.must("checkpoint", name)
		p.must("restore", "-d", name)
		if out := p.must("exec", name, "sh", "-c", look); out != want {
			t.Errorf("after it was restored: %q", out)
		}
		p.must("kill", name)
		p.must("wait", name)
		if found := owners(t, p.must("cp", name+":/of-app", "-")); found["of-app"] != "1000:1000" {
			t.Errorf("cp of a stopped one gives %v", found)
		}
	})
	p.must("rm", "-f", name)
}

// TestE2EAUserNamespaceAndDirectoriesOfTheHost is of a map in parts: file systems of the host show the VM's ids, and so the host's.
func TestE2EAUserNamespaceAndDirectoriesOfTheHost(t *testing.T) {
	p := me(t)
	dir := t.TempDir()
	mine, others := filepath.Join(dir, "mine"), filepath.Join(dir, "others")
	must(t, os.Chmod(dir, 0o755), os.Mkdir(mine, 0o755), os.WriteFile(others, []byte("read\n"), 0o644))
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 1000, 1000
		must(t, os.Chown(mine, uid, gid))
	}
	output := p.must("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--uidmap", fmt.Sprintf("0:%d:1", uid), "--uidmap", "1:200000:70000", "--gidmap", fmt.Sprintf("0:%d:1", gid), "--gidmap", "1:200000:70000",
		"-v", dir+":/data", "--mount", "type=bind,source="+dir+",target=/virtiofs,transport=virtiofs", p.desk.busybox, "sh", "-c", try+`
		echo "uids=$(tr -s ' \n' ' ' </proc/self/uid_map)"
		stat -c "%n=%u:%g" /data/others /data/mine /virtiofs/others /virtiofs/mine /etc/passwd; echo "content=$(cat /data/others)"
		try written touch /data/mine/new; try also touch /virtiofs/mine/new; try others touch /data/others; try root touch /x`)
	want := map[string]string{"uids": fmt.Sprintf(" 0 %d 1 1 200000 70000 ", uid), "/data/mine": "0:0", "/etc/passwd": "0:0", "content": "read", "written": "done", "also": "done", "/virtiofs/mine": "0:0", "root": "Read-only file system"}
	if os.Geteuid() == 0 {
		want["/data/others"], want["/virtiofs/others"], want["others"] = "65534:65534", "65534:65534", "Permission denied"
	}
	expect(t, output, want)
	info, err := os.Stat(filepath.Join(mine, "new"))
	must(t, err)
	if stat := info.Sys().(*syscall.Stat_t); int(stat.Uid) != uid || int(stat.Gid) != gid {
		t.Errorf("what root of the container has written is of %d:%d", stat.Uid, stat.Gid)
	}
}

// TestE2EMapsOfAFewIDs has ids that are somebody's in the VM and somebody else's in the container, and a container without the group of terminals.
func TestE2EMapsOfAFewIDs(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "--uidmap", "0:1000:1", "--uidmap", "1:100000:65535", p.desk.busybox, "sleep", "1000")
	if r := p.vzctlWith(attributed(t), "cp", "-", name+":/"); r.code != 0 || r.stderr != "" {
		t.Errorf("cp of files with attributes: %+v", r)
	}
	if r := p.vzctl("exec", "-u", "app", name, "cat", "/listed"); r.code != 0 {
		t.Errorf("who may read a file: %+v", r)
	}
	if tarball := p.must("cp", name+":/listed", "-"); !strings.Contains(tarball, "system.posix_acl_access="+listed) {
		t.Errorf("the list does not come back as it was")
	}
	if got := p.must("run", "--rm", "--uidmap", "0:1000:1", p.desk.busybox, "sh", "-c", "id -u; ls -d /dev/pts/ptmx"); got != "0\n/dev/pts/ptmx\n" {
		t.Errorf("with one id it prints %q", got)
	}
}

func TestE2EMapsThatCannotBeAreRefusedInOneLine(t *testing.T) {
	p := me(t)
	for _, test := range []struct {
		name, says string
		flags      []string
	}{
		{"ids that meet", "in common", []string{"--uidmap", "0:100000:10", "--uidmap", "5:200000:10"}},
		{"no ids", "0:100000:0", []string{"--uidmap", "0:100000:0"}},
		{"no root", "root", []string{"--gidmap", "1:100000:10"}},
		{"no map", "1000", []string{"--uidmap", "1000"}},
		{"beyond the last id", "beyond", []string{"--uidmap", "0:4294967295:2"}},
		{"all of the VM", "privileged", []string{"--userns", "auto", "--privileged"}},
		{"two ways to say it", "--uidmap", []string{"--userns", "auto", "--uidmap", "0:100000:10"}},
		{"another's", "auto", []string{"--userns", "container:x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := me(t).vzctl(slices.Concat([]string{"run", "--rm"}, test.flags, []string{p.desk.busybox, "true"})...)
			if r.code != 125 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, test.says) {
				t.Errorf("exit code %d, stderr %q; want 125 and one line about %q", r.code, r.stderr, test.says)
			}
		})
	}
}
