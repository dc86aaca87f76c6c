package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// One container for all that a further process is to have.
func TestE2EFurtherProcesses(t *testing.T) {
	p := me(t)
	name := p.name()
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# not this\nFROM=file\nBOTH=file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Working directories that the image does not have are made, as are limits of all kinds.
	limits := map[string]string{"cpu": "100:200", "fsize": "1048576:2097152", "data": "1073741824:1073741824", "stack": "4194304:8388608", "core": "0:0", "rss": "1048576:1048576",
		"nproc": "1000:2000", "nofile": "100:200", "memlock": "65536:65536", "as": "1073741824:1073741824", "locks": "10:20", "sigpending": "30:40",
		"msgqueue": "819200:819200", "nice": "5:10", "rtprio": "1:2", "rttime": "1000:2000"}
	args := []string{"run", "-d", "--name", name, "-w", "/made/for/it", "--env-file", file, "-e", "BOTH=flag"}
	for limit, value := range limits {
		args = append(args, "--ulimit", limit+"="+value)
	}
	p.must(append(args, p.desk.busybox, "sleep", "1000")...)

	expect(t, p.must("exec", "--env-file", file, "-e", "MORE=yes", "-e", "BOTH=exec", name, "sh", "-c", `
		echo "dir=$(pwd)"; echo "FROM=$FROM"; echo "BOTH=$BOTH"; echo "MORE=$MORE"; echo "umask=$(umask)"; echo "HOME=$HOME"
		for n in pid mnt ipc uts cgroup net; do [ "$(readlink /proc/1/ns/$n)" = "$(readlink /proc/self/ns/$n)" ] && echo "$n=same"; done`),
		map[string]string{"dir": "/made/for/it", "FROM": "file", "BOTH": "exec", "MORE": "yes", "umask": "0022", "HOME": "/root",
			"pid": "same", "mnt": "same", "ipc": "same", "uts": "same", "cgroup": "same", "net": "same"})

	// The kernel's words for the limits, of the first process and of a further one.
	want := map[string]string{"Max cpu time": "cpu", "Max file size": "fsize", "Max data size": "data", "Max stack size": "stack", "Max core file size": "core",
		"Max resident set": "rss", "Max processes": "nproc", "Max open files": "nofile", "Max locked memory": "memlock", "Max address space": "as", "Max file locks": "locks",
		"Max pending signals": "sigpending", "Max msgqueue size": "msgqueue", "Max nice priority": "nice", "Max realtime priority": "rtprio", "Max realtime timeout": "rttime"}
	for _, process := range []string{"1", "self"} {
		for line := range strings.Lines(p.must("exec", name, "cat", "/proc/"+process+"/limits")) {
			limit, ok := want[strings.TrimSpace(line[:min(26, len(line))])]
			if !ok {
				continue // the head
			}
			if fields := strings.Fields(line[26:]); len(fields) < 2 || fields[0]+":"+fields[1] != limits[limit] {
				t.Errorf("process %s: %q; want %s", process, strings.TrimSpace(line), limits[limit])
			}
		}
	}

	for _, test := range []struct {
		name         string
		args         []string
		stdout, says string
		code         int
	}{
		{"by the name of a user of the container", []string{"-u", "app", name, "sh", "-c", "id; echo $HOME"}, "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n/home/app\n", "", 0},
		{"by numbers", []string{"-u", "1000:2000", name, "id"}, "uid=1000(app) gid=2000(extra)", "", 0},
		{"by a number that the container has no name of", []string{"-u", "4242", name, "sh", "-c", "id -u; id -g"}, "4242\n0\n", "", 0},
		{"in another directory", []string{"-w", "/etc", name, "pwd"}, "/etc\n", "", 0},
		{"an exit code", []string{name, "sh", "-c", "echo out; exit 42"}, "out\n", "", 42},
		{"a signal", []string{name, "sh", "-c", "kill -9 $$"}, "", "", 137},
		{"one that goes on for a while", []string{name, "sh", "-c", "echo first; sleep 0.5; echo second; exit 3"}, "first\nsecond\n", "", 3},
		{"what comes on both streams", []string{name, "sh", "-c", "echo out; echo cried >&2; exit 1"}, "out\n", "cried", 1},
		{"no descriptor of the machine's but its streams", []string{name, "ls", "/proc/self/fd"}, "0\n1\n2\n3\n", "", 0}, // the last is its own
		{"nobody else in sight", []string{name, "sh", "-c", "cat /proc/[0-9]*/comm"}, "sleep\ncat\n", "", 0},
		{"a user that is not there", []string{"-u", "nobody-knows", name, "id"}, "", "nobody-knows", 125},
		{"a command that is not there", []string{name, "no-such-command"}, "", "no-such-command", 127},
		{"a command that cannot be executed", []string{name, "/etc/passwd"}, "", "/etc/passwd", 126},
		{"a container that is not there", []string{name + "x", "id"}, "", name + "x", 125},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := p.vzctl(append([]string{"exec"}, test.args...)...)
			if r.code != test.code || !strings.HasPrefix(r.stdout, test.stdout) || !strings.Contains(r.stderr, test.says) || strings.Count(r.stderr, "\n") > 1 {
				t.Errorf("exit code %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
			}
		})
	}

	p.must("exec", "-d", name, "sh", "-c", "echo done >/tmp/made; exec sleep 500")
	p.must("exec", name, "sh", "-c", "until [ -s /tmp/made ]; do sleep 0.1; done; cat /tmp/made")
	if processes := p.must("top", name); !strings.Contains(processes, "sleep 500") {
		t.Errorf("the detached process is not there:\n%s", processes)
	}
	if r := p.vzctlWith("from here\n", "exec", "-i", name, "cat"); r.stdout != "from here\n" || r.code != 0 {
		t.Errorf("stdin: %+v", r)
	}
	p.must("kill", name)
	p.vzctl("wait", name)
	if r := p.vzctl("exec", name, "id"); r.code != 125 || !strings.Contains(r.stderr, "it is stopped; start it first") {
		t.Errorf("of one that is stopped: %+v", r)
	}
}
