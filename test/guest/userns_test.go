package guest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/sdk/fault"
)

// mapped has a container be in a user namespace whose ids from 0 on are the machine's from 100000 on.
func mapped(s *specs.Spec) {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
}

// TestVMUserNamespaces has containers with one beside one without.
func TestVMUserNamespaces(t *testing.T) {
	g := start(t, Entry{Path: "/opt/app", UID: 1000, Body: "app\n"}, Entry{Path: "/opt/far", UID: 70000, Mode: 0o600, Body: "far\n"})
	t.Run("a container looks as it does without one", func(t *testing.T) { checkMappedLooks(t, g) })
	t.Run("its disks are as without one", func(t *testing.T) { checkMappedDisks(t, g) })
	if err := errors.Join(g.Create(Container{ID: "c", Args: []string{"sh", "-c", "while :; do sleep 0.2; done"}, Env: []string{"PATH=/bin"}, Edit: mapped}), g.Start("c", "init")); err != nil {
		t.Fatal(err)
	}
	t.Run("further processes are in it", func(t *testing.T) { checkMappedExec(t, g) })
	t.Run("all capabilities in it are none outside", func(t *testing.T) { checkMappedHostile(t, g) })
	t.Run("who is not in it cannot be", func(t *testing.T) { checkUnmapped(t, g) })
}

func checkMappedLooks(t *testing.T, g *Guest) {
	const sight = `cut -d' ' -f2,3 /proc/mounts; stat -c '%n %A %u %g %t %T' / /etc/* /root /home/alice /opt/* /dev/* /dev/pts/ptmx /tmp | grep -v far; grep -E 'Uid|Gid|Groups|Umask|Cap|NoNew|Seccomp' /proc/self/status; cat /proc/self/limits /proc/self/cgroup
echo x >/made; mkdir -p /opt/new/dir; chown 1000:100 /opt/new; touch /home/alice/.profile; echo more >>/opt/app; chmod 4755 /made; stat -c '%n %A %u %g' /made /opt/new /opt/new/dir /home/alice/.profile /opt/app
echo x >/dev/shm/x && echo x >/dev/null && head -c4 /dev/urandom | wc -c; for f in /proc/sys/kernel/hostname /sys/x /proc/sysrq-trigger /sys/firmware/x /dev/full; do echo x >$f && echo written: $f; done
cat /proc/keys /proc/timer_list /etc/hosts /etc/hostname; ls -A /sys/firmware; stat -c '%n %u %g' /etc/hosts /etc/hostname /etc/resolv.conf; mknod /d b 254 0; head -c1 /d; echo $?; cat /proc/sys/kernel/msgmax`
	var seen [2][]string
	for i, edit := range []func(*specs.Spec){func(*specs.Spec) {}, mapped} {
		c := Container{ID: "looks", Args: []string{"sh", "-c", sight}, Env: []string{"PATH=/bin"}, Edit: func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"kernel.msgmax": "12345"}
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 64, Hard: 600000}, {Type: "RLIMIT_NPROC", Soft: 100, Hard: 200}}
			edit(s)
		}}
		result, err := g.Run(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[i] = strings.Split(result.Stdout, "\n")
		slices.Sort(seen[i]) // mounts are told in the order in which they were made
		clean := script("rm -rf /made /opt/new /home/alice/.profile /d; echo app >/opt/app")
		clean.ID, clean.Env = "clean", c.Env
		if result, err := g.Run(clean, nil); err != nil || result.Exit.Code != 0 {
			t.Fatalf("%+v, %v", result, err)
		}
	}
	if len(seen[0]) < 80 || !slices.Equal(seen[0], seen[1]) {
		t.Errorf("without it is\n%s\nand with it\n%s", strings.Join(seen[0], "\n"), strings.Join(seen[1], "\n"))
	}
}

// checkMappedDisks looks at what a container with one has written, from one without, and the other way around.
func checkMappedDisks(t *testing.T, g *Guest) {
	run := func(text string, edit func(*specs.Spec)) string {
		t.Helper()
		c := script(text)
		c.ID, c.Env, c.Edit = "disks", []string{"PATH=/bin"}, edit
		result, err := g.Run(c, nil)
		if err != nil || result.Exit.Code != 0 {
			t.Fatalf("%+v, %v", result, err)
		}
		return result.Stdout
	}
	plain := func(*specs.Spec) {}
	run("echo a >/mine; chown 1000:100 /mine; mkdir /dir; touch /dir/file; echo more >>/opt/app; rm /home/alice/x 2>/dev/null; mv /home/alice /home/al", mapped)
	const look = "stat -c '%n %A %u %g' /mine /dir /dir/file /opt/app /home/al"
	want := "/mine -rw-r--r-- 1000 100\n/dir drwxr-xr-x 0 0\n/dir/file -rw-r--r-- 0 0\n/opt/app -rw-r--r-- 1000 0\n/home/al drwxr-xr-x 1000 0\n"
	if got := run(look, plain); got != want {
		t.Errorf("without one it is\n%s", got)
	}
	run("touch /theirs; chown 7:8 /theirs", plain)
	if got := run(look+" /theirs", mapped); got != want+"/theirs -rw-r--r-- 7 8\n" {
		t.Errorf("with one it is\n%s", got)
	}
	// A file whose owner is not in the map is nobody's: not even root may change it, or give it to somebody.
	if got := run("stat -c '%u' /opt/far; cat /opt/far 2>&1; chown 0 /opt/far 2>&1 | grep -c .", mapped); got != "65534\ncat: can't open '/opt/far': Permission denied\n1\n" {
		t.Errorf("of a file of nobody's it sees %q", got)
	}
	// Without a layer of its own what is written is in memory, which shows ids as they are.
	c := Container{ID: "memory", Args: []string{"sh", "-c", "stat -c '%n %u %g' / /etc /etc/passwd /etc/hosts /new /new/dir /opt/app; touch /x"}, Cwd: "/new/dir", Env: []string{"PATH=/bin"}, NoLayer: true, Edit: mapped}
	result, err := g.Run(c, nil)
	if want := "/ 0 0\n/etc 0 0\n/etc/passwd 0 0\n/etc/hosts 0 0\n/new 0 0\n/new/dir 0 0\n/opt/app 1000 0\n"; err != nil || result.Stdout != want || result.Exit.Code == 0 {
		t.Errorf("%+v, %v; want %q", result, err, want)
	}
	run("rm -rf /mine /dir /theirs; mv /home/al /home/alice; echo app >/opt/app", plain)
}

// mappedSight is what a process tells that is in the container's namespaces.
const mappedSight = "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; test $(id -u) != 0 || for n in pid mnt ipc uts cgroup net user; do test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) || echo other $n; done; " +
	"readlink /proc/self/ns/user | grep -c 4026531837; id; touch /tmp/of$$; stat -c '%u %g' /tmp/of$$; rm /tmp/of$$; grep CapEff /proc/self/status; ulimit -n; ulimit -Hn"

func checkMappedExec(t *testing.T, g *Guest) {
	shell := func(text string, edit func(*specs.Process)) specs.Process {
		p := specs.Process{Args: []string{"sh", "-c", text}, Env: []string{"PATH=/bin"}, Cwd: "/"}
		edit(&p)
		return p
	}
	plain := func(*specs.Process) {}
	const ids = "         0     100000      65536\n         0     100000      65536\nallow\n0\n"
	const root = ids + "uid=0(root) gid=0(root)\n0 0\nCapEff:\t00000000a80425fb\n1024\n524288\n"
	for i, test := range []struct {
		name, user string
		process    specs.Process
		want       string
		helper     bool // makes it
	}{
		{"as it comes", "", shell(mappedSight, plain), root, false},
		{"of a user by name", "alice", shell(mappedSight, plain),
			ids + "uid=1000(alice) gid=100(users) groups=10(wheel),100(users)\n1000 100\nCapEff:\t0000000000000000\n1024\n524288\n", false},
		{"with a limit higher than any of the machine's", "", shell("ulimit -Hn", func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 600000}}
		}), "600000\n", false},
		{"with a terminal", "alice", shell("tty; stat -c '%u %g' $(readlink /proc/self/fd/0)", func(p *specs.Process) { p.Terminal = true }), "/dev/pts/0\n1000 5\n", false},
		{"in a directory that is made", "", shell("pwd; stat -c '%u %g' .", func(p *specs.Process) { p.Cwd = "/made/for/it" }), "/made/for/it\n0 0\n", true},
		{"who may look into processes", "", shell(mappedSight, func(p *specs.Process) {
			p.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_SYS_PTRACE"}, Permitted: []string{"CAP_SYS_PTRACE"}, Effective: []string{"CAP_SYS_PTRACE"}}
		}), strings.Replace(root, "a80425fb", "00080000", 1), true},
		{"after that", "", shell(mappedSight, plain), root, true},
		{"after that with a terminal", "alice", shell("stat -c '%u %g' $(readlink /proc/self/fd/0)", func(p *specs.Process) { p.Terminal = true }), "1000 5\n", true},
	} {
		out, exit, phases := further(t, g, fmt.Sprint("further", i), test.process, test.user)
		if out != test.want || exit.Code != 0 || slices.Contains(phases, "fork") != test.helper {
			t.Errorf("%s, made by %q, exit %v: %q, want %q", test.name, phases, exit, out, test.want)
		}
	}
	all, err := processes(t, g, "c")
	if err != nil || len(all) == 0 || all[0].User != "root" {
		t.Errorf("processes %v, %v", all, err)
	}
}

func checkMappedHostile(t *testing.T, g *Guest) {
	spec, err := runtimespec.Build(runtimespec.Input{ContainerID: "x", Args: []string{"x"}, Isolation: runtimespec.Isolation{CapAdd: []string{"ALL"}}})
	if err != nil {
		t.Fatal(err)
	}
	p := specs.Process{Args: []string{"sh", "-c", `try() { n=$1; shift; "$@" >/dev/null 2>&1 && echo $n; }
		grep CapEff /proc/self/status
		mkdir -p /mnt; try tmpfs mount -t tmpfs x /mnt; try hostname hostname other; hostname box
		umount /proc/sys /proc/sysrq-trigger; mount -o remount,rw /sys
		for f in /proc/sys/kernel/panic /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/sysrq-trigger /sys/kernel/uevent_helper /sys/kernel/mm/transparent_hugepage/enabled; do try $f sh -c "echo 1 >$f"; done
		try cgroup sh -c 'mkdir /mnt/c; mount -t cgroup2 c /mnt/c && echo 1 >/mnt/c/pids.max'
		try node mknod /dev/disk b 254 0; try sysfs mount -t sysfs s /mnt; try disk mount -t ext4 /dev/vda /mnt; try link ip link set lo down
		try far cat /opt/far; try chown chown 70000 /etc/passwd; try suid sh -c 'cp /bin/busybox /mnt/b && chown 70000 /mnt/b'
		try port nc -l -p 80 -w 1; stat -c '%u' /proc /sys/kernel`}, Env: []string{"PATH=/bin"}, Capabilities: spec.Process.Capabilities}
	result, err := g.Exec("c", "hostile", p, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := "CapEff:\t000001ffffffffff\ntmpfs\nhostname\n65534\n65534\n"; result.Stdout != want {
		t.Errorf("it did %q, want %q; it said %q", result.Stdout, want, result.Stderr)
	}
}

func checkUnmapped(t *testing.T, g *Guest) {
	for i, user := range []string{"70000", "0:65536", "alice:70000"} {
		for kind, run := range map[string]func() error{
			"first": func() error {
				_, err := g.Run(Container{ID: fmt.Sprint("u", i), Args: []string{"true"}, Env: []string{"PATH=/bin"}, User: user, NoLayer: true, Edit: mapped}, nil)
				return err
			},
			"further": func() error {
				_, err := g.Exec("c", fmt.Sprint("u", i), specs.Process{Args: []string{"true"}, Env: []string{"PATH=/bin"}}, user)
				return err
			},
		} {
			e, ok := errors.AsType[*fault.Error](run())
			if !ok || e.Reason != fault.NotFound || e.Op != "look up user" || !strings.Contains(e.Error(), "not in the map") {
				t.Errorf("a %s process of %s: %v", kind, user, e)
			}
		}
	}
}
