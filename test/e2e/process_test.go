package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestE2EProcesses shares one container; what each further process is given is its own.
func TestE2EProcesses(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "-e", "KEPT=of the container", "-e", "EMPTY=", "-w", "/made/for/it", p.desk.busybox, "sh", "-c",
		`mkdir -p /opt/tools && printf '#!/bin/sh\necho the tool\n' >/opt/tools/tool && chmod 755 /opt/tools/tool && exec sleep 1000`)
	for _, test := range []struct {
		name   string
		flags  []string
		args   []string
		stdout string
		code   int
	}{
		{name: "arguments arrive as they were written", args: []string{"sh", "-c", `for a; do printf '<%s>' "$a"; done`, "sh", "", "a  b", "ö", "\n", "*", "$HOME"},
			stdout: "<><a  b><ö><\n><*><$HOME>"},
		{name: "the container's environment is inherited", args: []string{"sh", "-c", `echo "$KEPT[${EMPTY-unset}]"`}, stdout: "of the container[]\n"},
		{name: "and can be changed for one", flags: []string{"-e", "KEPT=x=y", "-e", "LINES=one\ntwo"}, args: []string{"sh", "-c", `echo "$KEPT $LINES"`}, stdout: "x=y one\ntwo\n"},
		{name: "its own PATH finds the program", flags: []string{"-e", "PATH=/opt/tools:/bin"}, args: []string{"tool"}, stdout: "the tool\n"},
		{name: "which another PATH does not", args: []string{"tool"}, code: 127},
		{name: "home of a user of passwd", flags: []string{"-u", "app"}, args: []string{"sh", "-c", "echo $HOME"}, stdout: "/home/app\n"},
		{name: "home that is given", flags: []string{"-e", "HOME=/elsewhere"}, args: []string{"sh", "-c", "echo $HOME"}, stdout: "/elsewhere\n"},
		{name: "the working directory is the container's", args: []string{"pwd"}, stdout: "/made/for/it\n"},
		{name: "a working directory that is made", flags: []string{"-w", "/some/new/place"}, args: []string{"pwd"}, stdout: "/some/new/place\n"},
		{name: "user by number, with the groups of its name", flags: []string{"-u", "1000"}, args: []string{"id"},
			stdout: "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n"},
		{name: "user and group by name", flags: []string{"-u", "app:extra"}, args: []string{"sh", "-c", "id -u; id -g"}, stdout: "1000\n2000\n"},
		{name: "user by name, group by number", flags: []string{"-u", "app:7"}, args: []string{"sh", "-c", "id -u; id -g"}, stdout: "1000\n7\n"},
		{name: "numbers that no file has", flags: []string{"-u", "40000:40001"}, args: []string{"sh", "-c", "id -u; id -g; echo $HOME"}, stdout: "40000\n40001\n/\n"},
		{name: "a user that there is not", flags: []string{"-u", "nobody-here"}, args: []string{"true"}, code: 125},
		{name: "a group that there is not", flags: []string{"-u", "app:no-such"}, args: []string{"true"}, code: 125},
		{name: "a terminal has TERM", flags: []string{"-t"}, args: []string{"sh", "-c", "echo $TERM; tty | grep -c pts"}, stdout: "xterm\r\n1\r\n"},
		{name: "umask", args: []string{"sh", "-c", "umask"}, stdout: "0022\n"},
		{name: "no descriptor but its own", args: []string{"sh", "-c", "ls /proc/self/fd | tr '\n' ' '"}, stdout: "0 1 2 3 "},
		{name: "no signal is blocked or ignored", args: []string{"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"},
			stdout: "SigBlk:\t" + none + "\nSigIgn:\t" + none + "\n"},
		{name: "success", args: []string{"true"}},
		{name: "the highest exit code", args: []string{"sh", "-c", "exit 255"}, code: 255},
		{name: "a signal ends it", args: []string{"sh", "-c", "kill -USR1 $$"}, code: 138},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := me(t).vzctl(slices.Concat([]string{"exec"}, test.flags, []string{name}, test.args)...)
			if r.stdout != test.stdout || r.code != test.code {
				t.Errorf("stdout %q, exit code %d, stderr %q; want %q, %d", r.stdout, r.code, r.stderr, test.stdout, test.code)
			}
			if refused := test.code == 125 || test.code == 127; refused && strings.Count(r.stderr, "\n") != 1 || !refused && r.stderr != "" {
				t.Errorf("stderr %q", r.stderr)
			}
		})
	}
	t.Run("one after the other leaves nothing", func(t *testing.T) {
		p := me(t)
		for range 20 {
			p.must("exec", name, "true")
		}
		p.must("exec", "-d", name, "sleep", "500") // which nobody waits for
		// Not in a pipe: a program that is just being started has another name.
		if got := p.must("exec", name, "sh", "-c", "ps -o comm,stat >/tmp/all; grep -vE '^(ps|sh|COMMAND)' /tmp/all"); strings.Count(got, "\n") != 2 || strings.Count(got, "sleep") != 2 {
			t.Errorf("in the container are %q, want the first process and the one without a caller", got)
		}
	})
	p.must("stop", "-t", "0", name)
	p.nothingRuns()
}

// ulimits are all that Linux has: as --ulimit and /proc name them, with values below what a process has from the start.
var ulimits = []struct {
	flag, shown string
	soft, hard  uint64
}{
	{"as", "Max address space", 1 << 32, 1 << 33}, {"core", "Max core file size", 4096, 8192}, {"cpu", "Max cpu time", 3000, 4000},
	{"data", "Max data size", 1 << 31, 1 << 32}, {"fsize", "Max file size", 1 << 30, 1 << 31}, {"locks", "Max file locks", 100, 200},
	{"memlock", "Max locked memory", 16384, 32768}, {"msgqueue", "Max msgqueue size", 81920, 163840}, {"nice", "Max nice priority", 1, 2},
	{"nofile", "Max open files", 256, 512}, {"nproc", "Max processes", 150, 250}, {"rss", "Max resident set", 1 << 28, 1 << 29},
	{"rtprio", "Max realtime priority", 3, 4}, {"rttime", "Max realtime timeout", 500000, 600000}, {"sigpending", "Max pending signals", 60, 120},
	{"stack", "Max stack size", 1 << 22, 1 << 23},
}

func TestE2EEveryUlimitHoldsForAllProcesses(t *testing.T) {
	p := me(t)
	name := p.name()
	args := []string{"run", "-d", "--name", name}
	for _, u := range ulimits {
		args = append(args, "--ulimit", fmt.Sprintf("%s=%d:%d", u.flag, u.soft, u.hard))
	}
	p.must(append(args, p.desk.busybox, "sleep", "1000")...)
	for of, pid := range map[string]string{"the first process": "1", "a further one": "self"} {
		t.Run(of, func(t *testing.T) {
			output := me(t).must("exec", name, "cat", "/proc/"+pid+"/limits")
			for _, u := range ulimits {
				i := strings.Index(output, u.shown+" ")
				if i < 0 {
					t.Errorf("%q is missing", u.shown)
					continue
				}
				values := strings.Fields(output[i+len(u.shown):])
				if values[0] != fmt.Sprint(u.soft) || values[1] != fmt.Sprint(u.hard) {
					t.Errorf("%s: %s of %s, want %d of %d", u.flag, values[0], values[1], u.soft, u.hard)
				}
			}
			if lines := strings.Count(output, "\n"); lines != 1+len(ulimits) {
				t.Errorf("the kernel has %d limits, the test %d", lines-1, len(ulimits))
			}
		})
	}
}

// TestE2EOneCapabilityOfItsOwn takes all capabilities away, and gives one back.
func TestE2EOneCapabilityOfItsOwn(t *testing.T) {
	const script = `try() { n=$1; shift; "$@" 2>/dev/null && echo "$n"; }
		try sys_admin mount -t tmpfs none /tmp
		try net_admin ip link set lo mtu 9000
		try chown chown 5:6 /etc/passwd
		true`
	for _, test := range []struct{ name, add, can string }{
		{"none", "", ""}, {"sys admin", "sys_admin", "sys_admin\n"}, {"net admin", "NET_ADMIN", "net_admin\n"}, {"file ownership", "CAP_CHOWN", "chown\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := me(t)
			args := []string{"run", "--rm", "--cap-drop", "ALL"}
			if test.add != "" {
				args = append(args, "--cap-add", test.add)
			}
			if got := p.must(append(args, p.desk.busybox, "sh", "-c", script)...); got != test.can {
				t.Errorf("it can %q, want %q", got, test.can)
			}
		})
	}
}

// TestE2EInit has an init process between vzctl and the command.
func TestE2EInit(t *testing.T) {
	image := me(t).desk.busybox
	for _, test := range []struct {
		name, stdin string
		flags, args []string
		stdout      string
		code        int
	}{
		{name: "exit code 0, and the output", args: []string{"sh", "-c", "echo out; tr '\\0' ' ' </proc/1/cmdline | cut -c1-10"}, stdout: "out\nvzctl-init\n"},
		{name: "exit code 1", args: []string{"false"}, code: 1},
		{name: "exit code 42, and input", stdin: "word\n", flags: []string{"-i"}, args: []string{"sh", "-c", "read w; echo got $w; exit 42"}, stdout: "got word\n", code: 42},
		{name: "a terminal", flags: []string{"-t"}, args: []string{"sh", "-c", "tty; echo $TERM"}, stdout: "/dev/pts/0\r\nxterm\r\n"},
		{name: "a command that is not there", args: []string{"no-such"}, code: 127},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := me(t).vzctlWith(test.stdin, slices.Concat([]string{"run", "--rm", "--init"}, test.flags, []string{image}, test.args)...)
			if r.stdout != test.stdout || r.code != test.code {
				t.Errorf("stdout %q, exit code %d, stderr %q; want %q, %d", r.stdout, r.code, r.stderr, test.stdout, test.code)
			}
		})
	}
	t.Run("it ends with the signal's code, and reaps", func(t *testing.T) {
		p := me(t)
		name := p.name()
		p.must("run", "-d", "--init", "--name", name, image, "sleep", "1000")
		// Orphans of both kinds: some have ended already, the others do in a moment.
		p.must("exec", name, "sh", "-c", "for i in 1 2 3 4 5; do (true & sleep 0.2 &); done")
		reaped := "until [ $(ps -o comm | grep -c sleep) = 1 ]; do sleep 0.05; done; cat /proc/[0-9]*/status | grep -c 'State:.Z'"
		if r := p.vzctl("exec", name, "sh", "-c", reaped); r.stdout != "0\n" {
			t.Errorf("zombies: %q, %s", r.stdout, r.stderr)
		}
		p.must("stop", name) // sleep, not being process 1, ends by SIGTERM
		if got := p.must("wait", name); got != "143\n" {
			t.Errorf("wait printed %q, want 143", got)
		}
	})
}
