package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Each test boots one container and looks at it from inside, line by line: a script prints "NAME=VALUE" lines, and exec the rest.

// lines are what a script printed.
func lines(t *testing.T, output string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(output) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			found[name] = value
		}
	}
	return found
}

func expect(t *testing.T, output string, want map[string]string) {
	t.Helper()
	got := lines(t, output)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	if t.Failed() {
		t.Log(output)
	}
}

// status prints the capabilities and more of a process.
const status = `status() { awk -v p="$1" '/^(Cap|NoNewPrivs|Seccomp:|Groups)/ { sub(":", "", $1); n = $1; $1 = ""; gsub(/^ | $/, ""); print p n "=" $0 }' /proc/self/status; }
`

const none, fourteen, all = "0000000000000000", "00000000a80425fb", "000001ffffffffff"

// TestE2EAContainerIsIsolatedByDefault is like the validation of OCI's runtime tools.
func TestE2EAContainerIsIsolatedByDefault(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "--hostname", "box", p.desk.busybox, "sleep", "1000")
	output := p.must("exec", name, "sh", "-c", status+`
		status
		try() { n=$1; shift; if "$@" >/dev/null 2>/tmp/err; then echo "$n=done"; else echo "$n=$(sed 's/.*: //' /tmp/err)"; fi; }
		try mount mount -t tmpfs none /tmp
		try unshare unshare -m true
		try sysctl sh -c 'echo 1 >/proc/sys/kernel/panic'
		try irq sh -c 'echo 1 >/proc/irq/default_smp_affinity'
		try sys sh -c 'echo 1 >/sys/kernel/uevent_seqnum'
		try cgroup mkdir /sys/fs/cgroup/x
		try disk sh -c 'mknod /tmp/disk b 254 0 && cat /tmp/disk'
		try chown chown 5:6 /tmp
		echo "interrupts=$(stat -c %t:%T /proc/interrupts)"
		echo "firmware=$(ls /sys/firmware | wc -l)"
		echo "hostname=$(hostname)"
		echo "nofile=$(ulimit -n):$(ulimit -Hn)"
		for d in null zero full random urandom tty; do echo "$d=$(stat -c %t:%T:%a /dev/$d)"; done
		echo "shm=$(grep ' /dev/shm ' /proc/mounts)"
		echo "proc=$(grep ' /proc proc ' /proc/mounts)"
		echo "fd=$(readlink /dev/fd)"`)
	expect(t, output, map[string]string{
		"CapInh": none, "CapPrm": fourteen, "CapEff": fourteen, "CapBnd": fourteen, "CapAmb": none, "NoNewPrivs": "0", "Seccomp": "2",
		"mount": "permission denied (are you root?)", "unshare": "Operation not permitted",
		"sysctl": "Read-only file system", "irq": "Read-only file system", "sys": "Read-only file system",
		"cgroup": "Read-only file system", "disk": "Operation not permitted", "chown": "done",
		"interrupts": "1:3", "firmware": "0", "hostname": "box", "nofile": "1024:524288",
		"null": "1:3:666", "zero": "1:5:666", "full": "1:7:666", "random": "1:8:666", "urandom": "1:9:666", "tty": "5:0:666",
		"shm":  "shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k 0 0",
		"proc": "proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0", "fd": "/proc/self/fd",
	})
	expect(t, p.must("exec", "-u", "app", name, "sh", "-c", status+"status"), map[string]string{
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": fourteen, "CapAmb": none, "Groups": "1000 2000", "Seccomp": "2"})
	// All capabilities are those of root alone, and what the container's filter denies stays denied.
	expect(t, p.must("exec", "--privileged", name, "sh", "-c", status+try+"status; try chown chown 5:6 /tmp; try link busybox ip link set lo mtu 65000; try mount mount -t tmpfs x /mnt"), map[string]string{
		"CapInh": none, "CapPrm": all, "CapEff": all, "CapBnd": all, "CapAmb": none, "Seccomp": "2",
		"chown": "done", "link": "done", "mount": "permission denied (are you root?)"})
	expect(t, p.must("exec", "--privileged", "-u", "app", name, "sh", "-c", status+"status"), map[string]string{"CapPrm": none, "CapEff": none, "CapBnd": all})
	var spec specs.Spec
	if err := json.Unmarshal([]byte(p.must("inspect", "--oci", name)), &spec); err != nil {
		t.Fatal(err)
	}
	if spec.Hostname != "box" || len(spec.Process.Capabilities.Bounding) != 14 || spec.Linux.Seccomp == nil || spec.Linux.Seccomp.DefaultAction != specs.ActErrno {
		t.Errorf("the runtime spec is %+v", spec)
	}
}

func TestE2ELimitsThatAreAskedFor(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "--cap-drop", "ALL", "--cap-add", "chown", "--security-opt", "no-new-privileges", "--ulimit", "nofile=100:200",
		"--ulimit", "core=0", "--sysctl", "kernel.msgmax=1234", "--sysctl", "net.ipv4.ip_unprivileged_port_start=81", "--shm-size", "1m",
		"--tmpfs", "/scratch:size=64k,exec", "--group-add", "77", "--group-add", "extra", "--add-host", "db:10.1.2.3", "--dns", "192.0.2.9",
		"--dns-search", "example.org", "--dns-option", "ndots:2", "--pids-limit", "50", "--cpu-shares", "512", "--memory-swap", "-1",
		"--oom-score-adj", "500", "--init", p.desk.busybox, "sh", "-c", "trap 'exit 7' USR1; while :; do sleep 1000 & wait; done")
	output := p.must("exec", name, "sh", "-c", status+`
		status
		echo "nofile=$(ulimit -n):$(ulimit -Hn)"; echo "core=$(ulimit -c)"
		echo "msgmax=$(cat /proc/sys/kernel/msgmax)"; echo "port=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)"
		echo "shm=$(grep ' /dev/shm ' /proc/mounts)"; echo "scratch=$(grep ' /scratch ' /proc/mounts)"
		echo "host=$(grep db /etc/hosts)"; echo "resolv=$(tr '\n' ' ' </etc/resolv.conf)"
		cd /sys/fs/cgroup; echo "cgroup=$(cat pids.max cpu.weight memory.swap.max | tr '\n' ' ')"
		echo "oom=$(cat /proc/self/oom_score_adj)"
		echo "init=$(tr '\0' ' ' </proc/1/cmdline | cut -c1-10)"
		(sleep 0.1 &); sleep 1; echo "zombies=$(grep -l 'State:.Z' /proc/[0-9]*/status | wc -l)"`)
	expect(t, output, map[string]string{
		"CapInh": none, "CapPrm": "0000000000000001", "CapEff": "0000000000000001", "CapBnd": "0000000000000001", "CapAmb": none, "NoNewPrivs": "1",
		"Groups": "77 2000", "nofile": "100:200", "core": "0", "msgmax": "1234", "port": "81",
		"shm":     "shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k 0 0",
		"scratch": "tmpfs /scratch tmpfs rw,nosuid,nodev,relatime,size=64k 0 0",
		"host":    "10.1.2.3\tdb", "resolv": "search example.org nameserver 192.0.2.9 options ndots:2 ", "cgroup": "50 20 max ", "oom": "500",
		"init": "vzctl-init", "zombies": "0",
	})
	p.must("kill", "-s", "USR1", name) // the init process hands it on
	if code := strings.TrimSpace(p.must("wait", name)); code != "7" {
		t.Errorf("it ended with %s, want 7", code)
	}
}

func TestE2EProfilesOfSystemCalls(t *testing.T) {
	p := me(t)
	profile := filepath.Join(t.TempDir(), "profile.json")
	const text = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}`
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	name := p.name()
	p.must("run", "-d", "--name", name, "--security-opt", "seccomp="+profile, "--cap-add", "sys_admin", p.desk.busybox, "sleep", "1000")
	const script = `mkdir /x 2>&1 | sed 's/.*: /mkdir=/'; unshare -m echo unshare=done`
	expect(t, p.must("exec", name, "sh", "-c", script), map[string]string{"mkdir": "Operation not supported", "unshare": "done"})
}

func TestE2EPrivileged(t *testing.T) {
	p := me(t)
	output := p.must("run", "--rm", "--privileged", p.desk.busybox, "sh", "-c", status+`
		status
		mkdir /m && mount -t tmpfs none /m && echo mount=done
		echo 7 >/proc/sys/kernel/panic && echo sysctl=done
		head -c 512 /dev/vda >/dev/null && echo disk=done
		mkdir /sys/fs/cgroup/x && echo cgroup=done`)
	expect(t, output, map[string]string{"CapPrm": all, "CapEff": all, "CapBnd": all, "CapInh": none, "CapAmb": none,
		"mount": "done", "sysctl": "done", "disk": "done", "cgroup": "done"})
}

func TestE2EWhatCannotBeEnforcedIsRefusedInOneLine(t *testing.T) {
	p := me(t)
	profile := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, says string
		flags      []string
	}{
		{"a capability that does not exist", `"FLY"`, []string{"--cap-add", "FLY"}},
		{"a profile that asks another program", "SCMP_ACT_NOTIFY", []string{"--security-opt", "seccomp=" + profile}},
		{"a sysctl of the machine", "kernel.panic", []string{"--sysctl", "kernel.panic=1"}},
		{"an unknown ulimit", "nofiles", []string{"--ulimit", "nofiles=1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := me(t).vzctl(slices.Concat([]string{"run", "--rm"}, test.flags, []string{p.desk.busybox, "true"})...)
			if r.code != 125 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, strings.Trim(test.says, `"`)) {
				t.Errorf("exit code %d, stderr %q; want 125 and one line about %s", r.code, r.stderr, test.says)
			}
		})
	}
}
