package e2e

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// write makes a file with all directories above it.
func write(t *testing.T, content string, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
	return name
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Error(err)
	}
	return string(content)
}

// try runs commands of which each may fail, and prints "NAME=done" or "NAME=" and the end of its error.
const try = `try() { n=$1; shift; if "$@" >/dev/null 2>/tmp/err; then echo "$n=done"; else echo "$n=$(sed 's/.*: //' /tmp/err)"; fi; }
`

// TestE2EDirectoriesAndFilesOfTheHost has one container for each way to share, with everything that can be mounted, given in no order, and looks at it from both sides. It is
// privileged, as a hostile one would like to be.
func TestE2EDirectoriesAndFilesOfTheHost(t *testing.T) {
	for _, transport := range []string{"9p", "virtiofs"} {
		t.Run(transport, func(t *testing.T) { directoriesAndFiles(t, me(t), transport) })
	}
}

func directoriesAndFiles(t *testing.T, p *person, transport string) {
	dir := t.TempDir()
	write(t, "from the host\n", dir, "data", "file")
	write(t, "precious\n", dir, "read-only", "file")
	write(t, "a=1\n", dir, "etc", "app.conf")
	write(t, "not for you\n", dir, "etc", "secret")
	write(t, "not for you\n", dir, "outside")
	if err := errors.Join(os.Symlink("data", filepath.Join(dir, "link")), os.Symlink("read-only/file", filepath.Join(dir, "file-link")), os.Symlink("../outside", filepath.Join(dir, "data", "way-out"))); err != nil {
		t.Fatal(err)
	}
	name := p.name()
	by, key := ":rw", "" // by 9p, where nothing else is said
	if transport != "9p" {
		by, key = ":transport="+transport, ",transport="+transport
	}
	p.must("run", "-d", "--name", name, "--privileged", "--network", "none",
		"--mount", "type=tmpfs,target=/deep/tmpfs/inner,tmpfs-size=1m", "-v", dir+"/link:/deep/tmpfs/inner/data"+by, "-v", dir+"/read-only:/read-only"+by+",ro",
		"-v", dir+"/data:/deep/tmpfs"+by, "--mount", "type=bind,source="+dir+"/data,target=/same,readonly"+key, "-v", dir+"/etc/app.conf:/etc/app.conf"+by,
		"-v", dir+"/file-link:/etc/fixed.conf"+by+",ro", p.desk.busybox, "sleep", "1000")
	output := p.must("exec", name, "sh", "-c", try+`
		cd /deep/tmpfs
		echo "read=$(cat file)"; echo "linked=$(cat inner/data/file)"; echo "again=$(cat /same/file)"; echo "conf=$(cat /etc/app.conf)"
		try out cat way-out
		ln -s /../../../../../../../../`+dir+`/outside further; try further cat further
		try same touch /same/x
		try ro touch /read-only/x
		mount -o remount,rw /read-only; try remount touch /read-only/x; try rm rm /read-only/file; try chmod chmod 0 /read-only/file
		echo "fixed=$(cat /etc/fixed.conf)"; try unfixed sh -c 'echo x >/etc/fixed.conf'
		# What a database does with its directory.
		mkdir db; chown 1000:1000 db; chmod 700 db; echo "db=$(stat -c %u:%g:%a db)"
		echo a=2 >/etc/app.conf
		echo "tmpfs=$(grep -c ' /deep/tmpfs/inner tmpfs .*size=1024k' /proc/mounts)"
		mknod null c 1 3 2>/dev/null; [ -e null ] || echo "device=none"
		mkdir /m; `+map[string]string{"9p": "mount -t 9p share3 /m -o trans=virtio 2>/dev/null", "virtiofs": "mount -t virtiofs share3 /m"}[transport]+`; echo "siblings=$(ls /m)"; try beside touch /m/beside`)
	want := map[string]string{
		"read": "from the host", "linked": "from the host", "again": "from the host", "same": "Read-only file system", "conf": "a=1", "out": "No such file or directory",
		"further": "No such file or directory", "ro": "Read-only file system", "remount": "Read-only file system", "rm": "Read-only file system",
		"chmod": "Read-only file system", "fixed": "precious", "unfixed": "Read-only file system", "db": "1000:1000:700", "tmpfs": "1", "device": "none",
		"siblings": "", "beside": "done", // by 9p a share can be mounted once
	}
	if transport == "virtiofs" {
		want["siblings"], want["beside"] = "file", "Read-only file system"
	}
	expect(t, output, want)
	output = p.must("exec", "-u", "app", name, "sh", "-c", `umask 077; cd /deep/tmpfs/db && echo one >new && mv new kept && ln kept other && echo two >>other &&
		dd if=/dev/zero of=wal bs=8k count=64 conv=fsync 2>/dev/null && stat -c %u:%g:%a:%h:%s kept`)
	if output != "1000:1000:600:2:8\n" {
		t.Errorf("a user's file in the directory is %q", output)
	}
	if got := read(t, dir, "data", "db", "kept") + read(t, dir, "etc", "app.conf"); got != "one\ntwo\na=2\n" {
		t.Errorf("the host reads %q", got)
	}
	info, err := os.Stat(filepath.Join(dir, "data", "db", "wal"))
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); os.Geteuid() == 0 && (stat.Uid != 1000 || stat.Gid != 1000) || info.Mode() != 0o600 || info.Size() != 64*8192 {
		t.Errorf("on the host a file of user 1000 is %v, of user %d", info.Mode(), stat.Uid)
	}
	// The host goes on writing, and the container sees it: by 9p at once, by virtio-fs when it asks again.
	write(t, "later\n", dir, "data", "file")
	write(t, "a=3\n", dir, "etc", "app.conf")
	if transport == "virtiofs" {
		p.must("exec", name, "sh", "-c", "until grep -qx later /deep/tmpfs/file && grep -qx a=3 /etc/app.conf; do :; done")
	}
	if got := p.must("exec", name, "cat", "/deep/tmpfs/file", "/etc/app.conf"); got != "later\na=3\n" {
		t.Errorf("the container reads %q", got)
	}
	if got := p.must("inspect", name); strings.Count(got, `"transport": "`+transport+`"`) != 6 || strings.Contains(got, `"cloned": true`) != (transport == "9p") {
		t.Errorf("not all is by %s, or it is no clone that should be, or one that cannot be: %s", transport, got)
	}
	if r := p.vzctl("checkpoint", name); r.code == 0 || !strings.Contains(r.stderr, "may change") {
		t.Errorf("a checkpoint: code %d, %s", r.code, r.stderr)
	}
}

func TestE2EMountsThatCannotBe(t *testing.T) {
	p := alone(t)
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	image := p.desk.busybox
	for _, test := range []struct {
		name  string
		words []string
		flags []string
	}{
		{"a source that is missing", []string{dir + "/missing", "no such"}, []string{"--mount", "type=bind,source=" + dir + "/missing,target=/data"}},
		{"a socket", []string{dir + "/socket", "neither"}, []string{"-v", dir + "/socket:/run/socket"}},
		{"two at one place", []string{"/data", "two"}, []string{"-v", dir + ":/data", "-v", dir + ":/data/"}},
		{"the root", []string{`"/"`}, []string{"-v", dir + ":/"}},
		{"a name that is none", []string{"name"}, []string{"-v", "a*b:/data"}},
		{"an option that is none", []string{"faster"}, []string{"-v", dir + ":/data:faster"}},
		{"a key that is none", []string{"speed"}, []string{"--mount", "type=bind,source=" + dir + ",target=/data,speed=9"}},
		{"a transport that is none", []string{"smb", "virtiofs"}, []string{"-v", dir + ":/data:transport=smb"}},
		{"mapped ownership by virtio-fs", []string{"ownership", "9p"}, []string{"--mount", "type=bind,source=" + dir + ",target=/data,transport=virtiofs,ownership=mapped"}},
		{"a type that is none", []string{"nfs"}, []string{"--mount", "type=nfs,source=a,target=/data"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			mine := *p
			mine.t = t
			mine.fails(test.words, append(append([]string{"run", "--rm"}, test.flags...), image, "true")...)
		})
	}
	// As with Docker, -v makes a directory, and a source that has gone since is an error of the start.
	made := filepath.Join(dir, "made", "by", "create")
	id := strings.TrimSpace(p.must("create", "-v", made+":/data", image, "true"))
	if err := os.Remove(made); err != nil {
		t.Fatal(err)
	}
	r := p.vzctl("start", id)
	if r.code == 0 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, made) {
		t.Errorf("start: code %d, %q", r.code, r.stderr)
	}
	p.must("rm", id)
}

func TestE2EChangesThatTheContainerMakesAreToldToItsWatchers(t *testing.T) {
	p := me(t)
	dir := t.TempDir()
	got := p.must("run", "--rm", "-v", dir+":/data", p.desk.imageWith(t, "changes"), "sh", "-c",
		"changes /data >/tmp/told & for i in $(seq 1000); do grep -q watching /tmp/told && break; done; touch /data/new; wait; cat /tmp/told")
	if got != "watching\nnew\n" {
		t.Errorf("told is %q", got)
	}
}
