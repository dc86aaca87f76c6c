package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestE2ERun(t *testing.T) {
	p := me(t)
	image := p.desk.busybox
	tests := []struct {
		name   string
		flags  []string
		args   []string
		stdin  string
		stdout string
		stderr string
		code   int
	}{
		{name: "output is byte exact", args: []string{"echo", "hi"}, stdout: "hi\n"},
		{name: "output without a newline", args: []string{"printf", `a\000b`}, stdout: "a\x00b"},
		{name: "stdout and stderr stay apart", args: []string{"sh", "-c", "echo out; echo err >&2"}, stdout: "out\n", stderr: "err\n"},
		{name: "success", args: []string{"true"}},
		{name: "failure", args: []string{"false"}, code: 1},
		{name: "an exit code of its own", args: []string{"sh", "-c", "exit 42"}, code: 42},
		{name: "arguments are the command's, even those like flags", args: []string{"echo", "-n", "--rm"}, stdout: "--rm"},
		{name: "input", flags: []string{"-i"}, args: []string{"cat"}, stdin: "line one\nline two\n", stdout: "line one\nline two\n"},
		{name: "no input without -i", args: []string{"cat"}, stdin: "not read", stdout: ""},
		{name: "environment", flags: []string{"-e", "A=1", "-e", "B=x y"}, args: []string{"sh", "-c", `echo "$A $B"`}, stdout: "1 x y\n"},
		{name: "home of root", args: []string{"sh", "-c", "echo $HOME"}, stdout: "/root\n"},
		{name: "a directory that is made", flags: []string{"-w", "/some/where"}, args: []string{"pwd"}, stdout: "/some/where\n"},
		{name: "a user by name, with groups", flags: []string{"-u", "app"}, args: []string{"id"},
			stdout: "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n"},
		{name: "a user by number", flags: []string{"-u", "40000:40000"}, args: []string{"id", "-u"}, stdout: "40000\n"},
		{name: "an entry point", flags: []string{"--entrypoint", "echo"}, args: []string{"from", "echo"}, stdout: "from echo\n"},
		{name: "a host name", flags: []string{"--hostname", "box"}, args: []string{"hostname"}, stdout: "box\n"},
		{name: "the host name resolves", flags: []string{"--hostname", "box"}, args: []string{"sh", "-c", "grep -c box /etc/hosts"}, stdout: "2\n"},
		{name: "the root can be written", args: []string{"sh", "-c", "echo x > /new && cat /new"}, stdout: "x\n"},
		{name: "a read-only root cannot", flags: []string{"--read-only"}, args: []string{"sh", "-c", "touch /new 2>/dev/null || echo refused"}, stdout: "refused\n"},
		{name: "kernel settings are protected", args: []string{"sh", "-c", "echo 1 2>/dev/null > /proc/sys/kernel/panic || echo refused"}, stdout: "refused\n"},
		{name: "it is process 1", args: []string{"sh", "-c", "echo $$"}, stdout: "1\n"},
		{name: "no network", flags: []string{"--network", "none"}, args: []string{"sh", "-c", "ls /sys/class/net"}, stdout: "lo\n"},
		{name: "a network", args: []string{"sh", "-c", "ip -4 addr show eth0 | grep -c inet"}, stdout: "1\n"},
		{name: "two CPUs", flags: []string{"--cpus", "2"}, args: []string{"nproc"}, stdout: "2\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := me(t)
			args := slices.Concat([]string{"run", "--rm"}, test.flags, []string{image}, test.args)
			r := p.vzctlWith(test.stdin, args...)
			if r.stdout != test.stdout || r.stderr != test.stderr || r.code != test.code {
				t.Errorf("stdout %q, stderr %q, exit code %d; want %q, %q, %d", r.stdout, r.stderr, r.code, test.stdout, test.stderr, test.code)
			}
		})
	}
	p.nothingRuns()
	if left := p.must("ls", "-aq"); left != "" {
		t.Errorf("--rm left %q", left)
	}
}

func TestE2ECommandsThatCannotRun(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a command that is not there", []string{"no-such-command"}, 127, "no-such-command"},
		{"a path that is not there", []string{"/bin/no-such"}, 127, "/bin/no-such"},
		{"a file that is not executable", []string{"/etc/passwd"}, 126, "/etc/passwd"},
		{"a directory", []string{"/etc"}, 126, "/etc"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := me(t)
			r := p.vzctl(slices.Concat([]string{"run", "--rm", p.desk.busybox}, test.args)...)
			if r.code != test.code || !strings.Contains(r.stderr, test.says) || r.stdout != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d and %q named", r.code, r.stdout, r.stderr, test.code, test.says)
			}
			if strings.Count(strings.TrimSpace(r.stderr), "\n") > 0 {
				t.Errorf("more than a line: %q", r.stderr)
			}
			p.nothingRuns()
		})
	}
}

func TestE2EManyBytesBothWays(t *testing.T) {
	p := me(t)
	input := strings.Repeat("0123456789abcde\n", 10<<20/16)
	r := p.vzctlWith(input, "run", "--rm", "-i", p.desk.busybox, "cat")
	if r.code != 0 || r.stdout != input {
		t.Errorf("exit code %d, %d bytes came back of %d; stderr %s", r.code, len(r.stdout), len(input), r.stderr)
	}
	r = p.vzctlWith(input, "run", "--rm", "-i", p.desk.busybox, "sha256sum")
	if want := fmt.Sprintf("%x  -\n", sha256.Sum256([]byte(input))); r.stdout != want {
		t.Errorf("got %q, want %q", r.stdout, want)
	}
}

func TestE2ETheSecondContainerOfAnImageCopiesNothing(t *testing.T) {
	p := alone(t)
	first, second := p.name(), p.name()
	p.must("create", "--name", first, p.desk.busybox, "true")
	disks := func() map[string]os.FileInfo {
		found := map[string]os.FileInfo{}
		paths, err := filepath.Glob(filepath.Join(p.root, "rootfs", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if found[path], err = os.Stat(path); err != nil {
				t.Fatal(err)
			}
		}
		return found
	}
	before := disks()
	p.must("create", "--name", second, p.desk.busybox, "true")
	after := disks()
	if len(before) == 0 || len(after) != len(before) {
		t.Fatalf("%d disks, then %d", len(before), len(after))
	}
	for path, info := range before {
		if !os.SameFile(info, after[path]) || !info.ModTime().Equal(after[path].ModTime()) {
			t.Errorf("%s was written again", path)
		}
	}
}

func TestE2EWhatOneContainerWritesNoOtherSees(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "--name", name, p.desk.busybox, "sh", "-c", "echo mine > /file")
	if r := p.vzctl("run", "--rm", p.desk.busybox, "cat", "/file"); r.code == 0 {
		t.Errorf("another sees %q", r.stdout)
	}
}

func TestE2EAnImageThatIsRemovedStaysForItsContainers(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("create", "--name", name, p.desk.busybox, "echo", "still here")
	p.must("image", "rm", p.desk.busybox)
	if got := p.must("image", "ls", "-q"); got != "" {
		t.Errorf("image ls shows %q", got)
	}
	if got := p.must("start", "-a", name); got != "still here\n" {
		t.Errorf("the container printed %q", got)
	}
	p.must("rm", name)
	// The last one of all takes along what nobody uses any more.
	p.must("image", "pull", p.desk.busybox)
	p.must("image", "rm", p.desk.busybox)
	for _, dir := range []string{"rootfs", "images/blobs/sha256"} {
		left, err := os.ReadDir(filepath.Join(p.root, dir))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) > 0 {
			t.Errorf("%s still has %v", dir, left)
		}
	}
}
