package guest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/sdk/fault"
)

// start boots a VM with the usual image and an empty layer.
func start(t *testing.T, entries ...Entry) *Guest {
	t.Helper()
	return Start(t, Options{Disks: []Disk{Image(t, entries...).Named("rootfs0"), Layer(t).Named("layer")}})
}

// script is a shell command in a container of its own.
func script(text string) Container { return Container{Args: []string{"sh", "-c", text}} }

func TestVMContainers(t *testing.T) {
	g := start(t,
		Entry{Path: "/plain", Body: "#!/bin/sh\n"},
		Entry{Path: "/garbage", Mode: 0o755, Body: "\x00\x01\x02\x03"},
		Entry{Path: "/noshell", Mode: 0o755, Body: "#!/no/such/shell\n"},
		Entry{Path: "/srv/dir/file", Body: "below\n"},
		Entry{Path: "/srv/plain", Body: "one\n"},
		Entry{Path: "/run/"})
	root := func(c Container) Container { c.NoLayer = true; return c }
	user := func(name string, c Container) Container { c.User = name; return c }
	edit := func(c Container, f func(*specs.Spec)) Container { c.Edit = f; return c }
	tests := []struct {
		name      string
		container Container
		stdout    string
		code      int32
	}{
		{"the first container too, which takes what was prepared, has no quota of CPU time unless the spec has", edit(script("cat /c/cpu.max"), func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/c", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
		}), "max 100000\n", 0},
		{"limits of disks by their numbers", edit(script("cat /c/io.max"), func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/c", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
			limit := specs.LinuxThrottleDevice{Rate: 1 << 20}
			limit.Major = 254
			s.Linux.Resources.BlockIO = &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{limit}}
		}), "254:0 rbps=1048576 wbps=max riops=max wiops=max\n", 0},
		{"output is exact", script(`printf 'a\0b\n\n'`), "a\x00b\n\n", 0},
		{"exit code 1", script("exit 1"), "", 1},
		{"exit code 42", script("exit 42"), "", 42},
		{"a child killed by a signal is the shell's to report", script("sh -c 'kill -9 $$'; echo $?"), "137\n", 0},
		{"the first process is number 1 of its namespace", script("echo $$"), "1\n", 0},
		{"a named user has its groups and home", user("alice", script("id; echo $HOME")),
			"uid=1000(alice) gid=100(users) groups=10(wheel),100(users)\n/home/alice\n", 0},
		{"user and group by name", user("alice:wheel", script("id -u; id -g; id -G")), "1000\n10\n10\n", 0},
		{"user by number, not in passwd", user("4711:12", script("id -u; id -g; echo $HOME")), "4711\n12\n/\n", 0},
		{"a missing working directory is made", Container{Args: []string{"pwd"}, Cwd: "/new/deep/dir"}, "/new/deep/dir\n", 0},
		{"the environment is the spec's and HOME", Container{Args: []string{"env"}, Env: []string{"A=b c", "PATH=/bin"}}, "PATH=/bin\nA=b c\nHOME=/root\n", 0},
		{"TERM is not set without a terminal", script("echo [$TERM]"), "[]\n", 0},
		{"host name", script("hostname; cat /etc/hostname"), "box\nbox\n", 0},
		{"hosts is the container's", script("tail -n1 /etc/hosts"), "127.0.1.1\tbox\n", 0},
		{"renaming a directory of the image", script("cd /srv && mv dir moved && cat moved/file && test ! -e dir"), "below\n", 0},
		{"hard links stay one file", script("cd /srv && ln plain other && echo two >> plain && cat other"), "one\ntwo\n", 0},
		{"one device number for all files", script("echo x > /srv/n; test $(stat -c %d /srv/n) = $(stat -c %d /plain) && echo same"), "same\n", 0},
		{"a root without layer is read-only", root(script("echo x > /srv/x; echo $?; cat /etc/hostname; ls /plain")), "1\nbox\n/plain\n", 0},
		{"a read-only root with layer", Container{Args: []string{"sh", "-c", "echo x > /x; echo $?; echo x > /dev/shm/x && hostname"}, ReadOnly: true}, "1\nbox\n", 0},
		{"protected paths are read-only", script("echo 1 > /proc/sys/kernel/panic; echo $?; echo b > /proc/sysrq-trigger; echo $?"), "1\n1\n", 0},
		{"masked files are empty", script("cat /proc/kcore /proc/timer_list | wc -c"), "0\n", 0},
		{"capabilities are the default ones", script("grep CapEff /proc/self/status; grep CapBnd /proc/self/status"),
			"CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n", 0},
		{"capabilities are gone for users", user("alice", script("grep CapEff /proc/self/status")), "CapEff:\t0000000000000000\n", 0},
		{"mounting is not permitted", script("mount -t tmpfs x /tmp; echo $?"), "1\n", 0},
		{"seccomp is on", script("grep Seccomp: /proc/self/status"), "Seccomp:\t2\n", 0},
		{"the machine's disks cannot be opened", script("mknod /d b 254 0; head -c1 /d; echo $?"), "1\n", 0},
		{"nor its serial port", script("mknod /d c 250 1; for m in 248 249 250 251 252 253; do rm /d; mknod /d c $m 1; (: < /d) 2>/dev/null && echo open; done; echo done"), "done\n", 0},
		{"/dev has the standard nodes alone", script("ls /dev"),
			"fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n", 0},
		{"no descriptor is left open", script("ls /proc/self/fd"), "0\n1\n2\n3\n", 0},
		{"open files", script("ulimit -n; ulimit -Hn"), "1024\n524288\n", 0},
		{"/dev/stdout can be opened anew", user("alice", script("echo x > /dev/stdout")), "x\n", 0},
		{"cgroup namespace", script("cat /proc/self/cgroup"), "0::/\n", 0},
		{"lo is up", script("ip addr show lo | grep -c 127.0.0.1"), "1\n", 0},
		{"umask is 022", script("umask"), "0022\n", 0},
		{"no new privileges is not set by default", script("grep NoNewPrivs /proc/self/status"), "NoNewPrivs:\t0\n", 0},
		{"nothing of the machine's mounts is seen", script("grep -c vzctl /proc/self/mountinfo | head -1; cut -d' ' -f5 /proc/self/mountinfo | head -1"), "4\n/\n", 0},
		{"rlimits", edit(script("ulimit -n; ulimit -c"), func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 64, Hard: 128}, {Type: "RLIMIT_CORE"}}
		}), "64\n0\n", 0},
		{"no new privileges", edit(script("grep NoNewPrivs /proc/self/status"), func(s *specs.Spec) { s.Process.NoNewPrivileges = true }), "NoNewPrivs:\t1\n", 0},
		{"umask of the spec", edit(script("umask"), func(s *specs.Spec) { mask := uint32(0o27); s.Process.User.Umask = &mask }), "0027\n", 0},
		{"sysctl", edit(script("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"), func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345"}
		}), "1\n12345\n", 0},
		{"a seccomp filter of the spec", edit(script("mkdir /tmp/x; echo $?; rm -r /tmp/y"), func(s *specs.Spec) {
			code := uint(38)
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				{Names: []string{"mkdir", "mkdirat", "no_such_call"}, Action: specs.ActErrno, ErrnoRet: &code}}}
		}), "1\n", 1},
		{"a network namespace has its own lo", edit(script("ip addr | grep -c UP; ip link | grep -c '^[0-9]'"), func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
		}), "1\n1\n", 0},
		{"a tmpfs", edit(script("touch /run/a/b && ls /run/a"), func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/run/a", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=64k"}})
		}), "b\n", 0},
		{"device of the spec", edit(script("ls /dev/fuse; head -c0 /dev/fuse && echo open"), func(s *specs.Spec) {
			major, minor := int64(10), int64(229)
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: major, Minor: minor}}
			s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rw"}}
		}), "/dev/fuse\nopen\n", 0},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.container.ID = fmt.Sprintf("c%d", i)
			if test.container.Env == nil {
				test.container.Env = []string{"PATH=/bin"}
			}
			result, err := g.Run(test.container, nil)
			if err != nil {
				t.Fatal(err)
			}
			if result.Stdout != test.stdout || result.Exit.Code != test.code {
				t.Errorf("code %d, stdout %q, stderr %q; want %d, %q", result.Exit.Code, result.Stdout, result.Stderr, test.code, test.stdout)
			}
		})
	}

	failures := []struct {
		name      string
		container Container
		reason    fault.Reason
		op        string
	}{
		{"a command not in PATH", Container{Args: []string{"nosuch"}}, fault.NotFound, "execute"},
		{"a path that is not there", Container{Args: []string{"/no/such"}}, fault.NotFound, "execute"},
		{"a missing interpreter", Container{Args: []string{"/noshell"}}, fault.NotFound, "execute"},
		{"a file without the bit", Container{Args: []string{"/plain"}}, fault.PermissionDenied, "execute"},
		{"a directory", Container{Args: []string{"/bin"}}, fault.PermissionDenied, "execute"},
		{"no program", Container{Args: []string{"/garbage"}}, fault.Invalid, "execute"},
		{"no such user", user("nobody", script("")), fault.NotFound, "look up user"},
		{"no such group", user("root:nobody", script("")), fault.NotFound, "look up user"},
		{"a working directory that is a file", Container{Args: []string{"pwd"}, Cwd: "/plain"}, fault.Invalid, "make working directory"},
		{"hooks", edit(script(""), func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/x"}}} }), fault.Unsupported, "enforce"},
		{"a limit of a disk that there is not", edit(script(""), func(s *specs.Spec) {
			s.Linux.Resources.BlockIO = &specs.LinuxBlockIO{ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{{Rate: 1}}}
		}), fault.Invalid, "limit the container"},
		{"a weight of disks", edit(script(""), func(s *specs.Spec) {
			weight := uint16(500)
			s.Linux.Resources.BlockIO = &specs.LinuxBlockIO{Weight: &weight}
		}), fault.Unsupported, "enforce"},
		{"a user namespace without maps", edit(script(""), func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		}), fault.Invalid, "make the user namespace"},
		{"no pid namespace", edit(script(""), func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] }), fault.Invalid, "read the runtime spec"},
		{"an unknown capability", edit(script(""), func(s *specs.Spec) { s.Process.Capabilities.Bounding = []string{"CAP_X"} }), fault.Invalid, "set capability"},
		{"a mount that fails", edit(script(""), func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/run/x", Type: "nosuch"})
		}), fault.Invalid, "mount"},
	}
	for i, test := range failures {
		t.Run("fails: "+test.name, func(t *testing.T) {
			test.container.ID = fmt.Sprintf("f%d", i)
			test.container.Env = []string{"PATH=/bin"}
			_, err := g.Run(test.container, nil)
			e, ok := errors.AsType[*fault.Error](err)
			if !ok || e.Reason != test.reason || e.Op != test.op {
				t.Errorf("error %v (%+v)", err, e)
			}
		})
	}
	if list, err := g.ListContainers(t.Context(), &guestv1.ListContainersRequest{}); err != nil || len(list.Containers) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

func TestVMStdinOfTenMiBComesBack(t *testing.T) {
	g := start(t)
	input := make([]byte, 10<<20)
	for i := range input {
		input[i] = byte(i ^ i>>8 ^ i>>16)
	}
	result, err := g.Run(Container{ID: "c", Args: []string{"cat"}}, bytes.NewReader(input))
	if err != nil {
		t.Fatal(err)
	}
	if result.Stdout != string(input) {
		t.Errorf("%d bytes came back, of %d, or others", len(result.Stdout), len(input))
	}
	result, err = g.Run(Container{ID: "c", Args: []string{"sha256sum"}}, bytes.NewReader(input))
	if sum := sha256.Sum256(input); err != nil || !strings.HasPrefix(result.Stdout, hex.EncodeToString(sum[:])) {
		t.Errorf("%v, %v", result, err)
	}
}

func TestVMSignalsEndProcesses(t *testing.T) {
	g := start(t)
	for i, test := range []struct{ signal, code int32 }{{15, 143}, {9, 137}} {
		c := Container{ID: fmt.Sprintf("c%d", i), Args: []string{"sh", "-c", "trap 'exit 143' TERM; echo up; while :; do sleep 1; done"}}
		if err := errors.Join(g.Create(c), g.Start(c.ID, "init")); err != nil {
			t.Fatal(err)
		}
		conn, err := g.Open(c.ID, "init", guestv1.StreamKind_STREAM_KIND_STDOUT)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		if _, err := g.SignalProcess(t.Context(), &guestv1.SignalProcessRequest{ContainerId: c.ID, ProcessId: "init", Signal: test.signal}); err != nil {
			t.Fatal(err)
		}
		var exits [4]*guestv1.Exit
		var waiting sync.WaitGroup
		for i := range exits {
			waiting.Go(func() { exits[i] = g.Wait(c.ID, "init") })
		}
		waiting.Wait()
		for _, exit := range append(exits[:], g.Wait(c.ID, "init")) {
			if exit.Code != test.code || exit.OomKilled || test.signal == 9 && exit.Signal != 9 {
				t.Errorf("signal %d: %v", test.signal, exit)
			}
		}
		_, err = g.SignalProcess(t.Context(), &guestv1.SignalProcessRequest{ContainerId: c.ID, ProcessId: "init", Signal: 15})
		if !errors.Is(err, fault.FailedPrecondition) {
			t.Errorf("signal to the dead: %v", err)
		}
		if _, err := g.DeleteContainer(t.Context(), &guestv1.DeleteContainerRequest{ContainerId: c.ID}); err != nil {
			t.Error(err)
		}
	}
}

// sleeper starts a container that does nothing.
func sleeper(t *testing.T, g *Guest) {
	t.Helper()
	if err := errors.Join(g.Create(Container{ID: "c", Args: []string{"sh", "-c", "while :; do sleep 0.2; done"}, Env: []string{"PATH=/bin"}}), g.Start("c", "init")); err != nil {
		t.Fatal(err)
	}
}

func TestVMExec(t *testing.T) {
	g := start(t)
	sleeper(t, g)
	env := []string{"PATH=/bin"}
	shell := func(text string) specs.Process { return specs.Process{Args: []string{"sh", "-c", text}, Env: env} }
	for _, test := range []struct {
		name, script, user, stdout string
	}{
		{"sees the container's processes", "cat /proc/1/cmdline | tr '\\0' ' '", "", "sh -c while :; do sleep 0.2; done "},
		{"has all its namespaces", "for n in pid mnt ipc uts cgroup net; do test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) || echo $n; done", "", ""},
		{"has its host name and cgroup", "hostname; cat /proc/self/cgroup", "", "box\n0::/\n"},
		{"has its capabilities", "grep CapBnd /proc/self/status", "", "CapBnd:\t00000000a80425fb\n"},
		{"runs as another user", "id -u; echo $HOME", "alice", "1000\n/home/alice\n"},
		{"has the filter too", "grep Seccomp: /proc/self/status", "", "Seccomp:\t2\n"},
		{"sees no other helper", "ps | grep -c vzctl-l[a]unch", "", "0\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			result, err := g.Exec("c", "e", shell(test.script), test.user)
			if err != nil || result.Stdout != test.stdout {
				t.Errorf("%+v, %v", result, err)
			}
		})
	}
	_, err := g.Exec("c", "e2", specs.Process{Args: []string{"nosuch"}, Env: env}, "")
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Op != "execute" || e.Reason != fault.NotFound {
		t.Errorf("%v", err)
	}
	t.Run("thirty at once", func(t *testing.T) {
		var running sync.WaitGroup
		for i := range 30 {
			running.Go(func() {
				result, err := g.Exec("c", fmt.Sprintf("p%d", i), shell(fmt.Sprintf("echo %d; exit %d", i, i)), "")
				if err != nil || result.Stdout != fmt.Sprintf("%d\n", i) || result.Exit.Code != int32(i) {
					t.Errorf("%d: %+v, %v", i, result, err)
				}
			})
		}
		running.Wait()
	})
	t.Run("orphans are reaped", func(t *testing.T) {
		if _, err := g.Exec("c", "orphans", shell("for i in 1 2 3 4 5; do (sh -c 'sleep 0.1 &' &) ; done"), ""); err != nil {
			t.Fatal(err)
		}
		count := shell("n=1; while [ $n != 0 ]; do n=$(cat /proc/[0-9]*/status 2>/dev/null | grep -c 'State:.Z'); done; echo none")
		result, err := g.Exec("c", "count", count, "") // a test that hangs has found one
		if err != nil || result.Stdout != "none\n" {
			t.Errorf("%+v, %v", result, err)
		}
	})
	t.Run("is removed once, and again without an error", func(t *testing.T) {
		text := `{"args":["true"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":0,"gid":0}}`
		if _, err := g.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{ContainerId: "c", ProcessId: "gone", OciProcess: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		if err := g.Start("c", "gone"); err != nil {
			t.Fatal(err)
		}
		g.Wait("c", "gone")
		for range 2 {
			if _, err := g.DeleteProcess(t.Context(), &guestv1.DeleteProcessRequest{ContainerId: "c", ProcessId: "gone"}); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("created and started with one call", func(t *testing.T) { checkRun(t, g) })
	t.Run("created, started and waited for with one call", func(t *testing.T) { checkBrief(t, g) })
	t.Run("created over a stream", func(t *testing.T) { checkLaunch(t, g) })
	t.Run("what the container uses, and what runs in it", func(t *testing.T) { checkObserved(t, g) })
	t.Run("after the end of the container", func(t *testing.T) {
		if _, err := g.SignalProcess(t.Context(), &guestv1.SignalProcessRequest{ContainerId: "c", ProcessId: "init", Signal: 9}); err != nil {
			t.Fatal(err)
		}
		g.Wait("c", "init")
		if _, err := g.Exec("c", "late", shell("true"), ""); !errors.Is(err, fault.FailedPrecondition) {
			t.Errorf("%v", err)
		}
	})
}

func TestVMTerminal(t *testing.T) {
	g := start(t)
	c := Container{ID: "c", Args: []string{"sh", "-c", "tty; stty size; test -c /dev/console && echo $TERM; read x; stty size; echo got $x"}, Terminal: true,
		Env: []string{"PATH=/bin"}, User: "alice",
		Edit: func(s *specs.Spec) { s.Process.ConsoleSize = &specs.Box{Width: 100, Height: 33} }}
	c.Args[2] = strings.Replace(c.Args[2], "tty; ", "readlink /proc/self/fd/0; ", 1)
	if err := errors.Join(g.Create(c), g.Start("c", "init")); err != nil {
		t.Fatal(err)
	}
	conn, err := g.Open("c", "init", guestv1.StreamKind_STREAM_KIND_TERMINAL)
	if err != nil {
		t.Fatal(err)
	}
	want := "/dev/pts/0\r\n33 100\r\nxterm\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := g.ResizeTerminal(t.Context(), &guestv1.ResizeTerminalRequest{ContainerId: "c", ProcessId: "init", Width: 80, Height: 25}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("word\n")); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(conn)
	if want := "word\r\n25 80\r\ngot word\r\n"; err != nil || string(rest) != want {
		t.Errorf("%q, %v; want %q", rest, err, want)
	}
	if exit := g.Wait("c", "init"); exit.Code != 0 {
		t.Error(exit)
	}
}

func TestVMAStalledStreamHoldsUpNobodyElse(t *testing.T) {
	g := start(t)
	sleeper(t, g)
	text := `{"args":["sh","-c","yes 2>/dev/null || while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyy; done"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":0,"gid":0}}`
	if _, err := g.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{ContainerId: "c", ProcessId: "writer", OciProcess: []byte(text)}); err != nil {
		t.Fatal(err)
	}
	if err := g.Start("c", "writer"); err != nil {
		t.Fatal(err)
	}
	conn, err := g.Open("c", "writer", guestv1.StreamKind_STREAM_KIND_STDOUT)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Open("c", "writer", guestv1.StreamKind_STREAM_KIND_STDOUT); err == nil {
		t.Error("a stream can be opened twice")
	}
	for i := range 5 {
		result, err := g.Exec("c", fmt.Sprintf("e%d", i), specs.Process{Args: []string{"echo", "on"}, Env: []string{"PATH=/bin"}}, "")
		if err != nil || result.Stdout != "on\n" {
			t.Errorf("%+v, %v", result, err)
		}
	}
	// A stream that is lost can be taken up again.
	conn.Reset()
	again, err := g.Open("c", "writer", guestv1.StreamKind_STREAM_KIND_STDOUT)
	for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); {
		again, err = g.Open("c", "writer", guestv1.StreamKind_STREAM_KIND_STDOUT)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(again, make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
	if _, err := g.DeleteContainer(t.Context(), &guestv1.DeleteContainerRequest{ContainerId: "c"}); err != nil {
		t.Error(err)
	}
	_ = again.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, again); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the stream outlives its container")
	}
}

func TestVMShutdownLeavesALayerThatNeedsNoRepair(t *testing.T) {
	layer := Layer(t).Named("layer")
	g := Start(t, Options{Disks: []Disk{Image(t).Named("rootfs0"), layer}})
	c := Container{ID: "c", Args: []string{"sh", "-c", "echo kept > /data; while :; do echo more >> /more; echo up; sleep 0.01; done"}, Env: []string{"PATH=/bin"}}
	if err := errors.Join(g.Create(c), g.Start("c", "init")); err != nil {
		t.Fatal(err)
	}
	conn, err := g.Open("c", "init", guestv1.StreamKind_STREAM_KIND_STDOUT)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 30)); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err := g.Shutdown(t.Context(), &guestv1.ShutdownRequest{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("answer after %v", time.Since(begun))
	_ = g.command.Process.Kill() // as a host does, that has its answer
	<-g.Ended()
	if out, err := exec.Command("e2fsck", "-fn", layer.Path).CombinedOutput(); err != nil || strings.Contains(string(out), "recover") {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	f, err := os.Open(layer.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := ext4.NewReader(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	err = fs.Walk(func(path string, in *ext4.Inode) error {
		if path == "/upper/data" {
			file, err := fs.Open(in)
			if err != nil {
				return err
			}
			b, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
			found = string(b) == "kept\n"
			return err
		}
		return nil
	})
	if err != nil || !found {
		t.Errorf("what was written is not in the layer: %v", err)
	}
}

func TestVMStartThatFailedCanBeRepeated(t *testing.T) {
	g := start(t)
	if err := g.Create(Container{ID: "c", Args: []string{"nosuch"}, Env: []string{"PATH=/bin"}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first time by the helper that waited since the boot
		err := g.Start("c", "init")
		if e, ok := errors.AsType[*fault.Error](err); !ok || e.Op != "execute" || e.Reason != fault.NotFound {
			t.Errorf("%v", err)
		}
	}
}
