package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestE2ELimitsOfMemoryCPUAndProcesses shares one container, which may change its own limits so that a test can make memory short.
func TestE2ELimitsOfMemoryCPUAndProcesses(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "--cpus", "2", "-m", "512m", "--privileged", p.desk.busybox, "sleep", "1000")
	expect(t, p.must("exec", name, "sh", "-c", `cd /sys/fs/cgroup; echo "cpu=$(cat cpu.max)"; echo "memory=$(cat memory.max)"; echo "cpus=$(nproc)"`), map[string]string{
		"cpu": "200000 100000", "memory": strconv.Itoa(512 << 20), "cpus": "2"})
	t.Run("all processes are in one cgroup", func(t *testing.T) {
		p := me(t)
		p.must("exec", "-d", name, "sleep", "1000")
		if got := p.must("exec", name, "cat", "/sys/fs/cgroup/cgroup.procs"); len(strings.Fields(got)) != 3 {
			t.Errorf("in the cgroup are %q, want the first process, a further one, and who asks", got)
		}
	})
	t.Run("the VM has more memory than its container may take", func(t *testing.T) {
		text := strings.TrimSpace(me(t).must("exec", name, "awk", "/MemTotal/ {print $2}", "/proc/meminfo"))
		if kib, err := strconv.Atoi(text); err != nil || kib<<10 <= 512<<20 || kib<<10 > 640<<20 {
			t.Errorf("the VM has %s KiB", text)
		}
	})
	t.Run("what the kernel says is in the boot log", func(t *testing.T) {
		p := me(t)
		p.must("exec", name, "sh", "-c", "echo '<2>said by the kernel' >/dev/kmsg")
		if got := p.must("logs", "--boot", name); !strings.Contains(got, "said by the kernel") {
			t.Errorf("the boot log is %q", got)
		}
	})
	t.Run("a process that takes too much is killed, and no other", func(t *testing.T) {
		p := me(t)
		// As engines in a container do: its processes go into a cgroup of their own, beside those with limits.
		const script = `cd /sys/fs/cgroup; mkdir init small; for p in $(cat cgroup.procs); do echo $p >init/cgroup.procs; done 2>/dev/null
			echo +memory >cgroup.subtree_control; echo 16M >small/memory.max
			sh -c 'echo $$ >small/cgroup.procs; exec dd if=/dev/zero of=/dev/null bs=64M count=1'; echo "code=$?"; echo "killed=$(awk '/oom_kill / {print $2}' memory.events)"`
		expect(t, p.must("exec", name, "sh", "-c", script), map[string]string{"code": "137", "killed": "1"})
		p.must("exec", name, "true")
		if c, _ := p.find(name); c.State != "running" {
			t.Errorf("the container is %s", c.State)
		}
	})
}

// TestE2EReadOnlyRootAndNames has a root that cannot be written, with all that is written into it for the container.
func TestE2EReadOnlyRootAndNames(t *testing.T) {
	p := me(t)
	name := p.name()
	id := strings.TrimSpace(p.must("run", "-d", "--name", name, "--read-only", "--add-host", "db:10.1.2.3", "--add-host", "db6:fd00::5", "--dns", "192.0.2.9", "--dns", "192.0.2.10",
		"--dns-search", "example.org", "--dns-option", "ndots:2", "--tmpfs", "/a/b/c", "--tmpfs", "/a:mode=711", p.desk.busybox, "sleep", "1000"))
	c, _ := p.find(name)
	own := ""
	for _, a := range c.Addresses {
		address, _, _ := strings.Cut(a, "/")
		own += address + "\t" + id[:12] + "\n"
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + own + "10.1.2.3\tdb\nfd00::5\tdb6\n"
	for _, test := range []struct{ name, script, want string }{
		{"the root", "touch /x 2>&1 | sed 's/.*: //'; grep -c ' / overlay ro,' /proc/mounts", "Read-only file system\n1\n"},
		{"files and directories of it", "echo >>/etc/passwd; mkdir /etc/x; rm /etc/passwd; chmod 777 /etc; ls /etc | grep -c '^x$'", "0\n"},
		{"the image is there", "grep -c root /etc/passwd", "1\n"},
		{"hosts", "cat /etc/hosts", hosts},
		{"DNS", "cat /etc/resolv.conf", "search example.org\nnameserver 192.0.2.9\nnameserver 192.0.2.10\noptions ndots:2\n"},
		{"the host name is the id", "hostname; cat /etc/hostname", id[:12] + "\n" + id[:12] + "\n"},
		{"what is in memory can be written", "echo x >/dev/shm/x && echo x >/a/b/c/x && cat /dev/shm/x", "x\n"},
		{"a deeper mount that was written first is not hidden", "stat -c %a /a; cut -d' ' -f2 /proc/mounts | grep ^/a", "711\n/a\n/a/b/c\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := me(t).vzctl("exec", name, "sh", "-c", test.script).stdout; got != test.want {
				t.Errorf("it says %q, want %q", got, test.want)
			}
		})
	}
}

// TestE2EAWritableLayer has what the image and the layer make together.
func TestE2EAWritableLayer(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", "echo mine >/new; echo more >>/etc/os-release; rm /etc/group; mv /home /moved; exec sleep 1000")
	expect(t, p.must("exec", name, "sh", "-c", `until [ -d /moved ]; do sleep 0.05; done
		echo "new=$(cat /new)"; echo "changed=$(tail -n 1 /etc/os-release)"; echo "kept=$(head -n 1 /etc/os-release)"
		echo "removed=$(ls /etc | grep -c '^group$')"; echo "moved=$(ls -d /moved/app /home 2>/dev/null)"; echo "hosts=$(grep -c localhost /etc/hosts)"`), map[string]string{
		"new": "mine", "changed": "more", "kept": "NAME=busybox", "removed": "0", "moved": "/moved/app", "hosts": "2"})
	if got := p.must("run", "--rm", p.desk.busybox, "sh", "-c", "ls -d /new /moved /home /etc/group 2>/dev/null; cat /etc/os-release"); got != "/etc/group\n/home\nNAME=busybox\nID=busybox\n" {
		t.Errorf("another container of the image sees %q", got)
	}
}

// TestE2ENetworking looks at a network from its containers.
func TestE2ENetworking(t *testing.T) {
	p := me(t)
	server, client := p.name(), p.name()+"-client"
	t.Cleanup(func() { p.vzctl("rm", "-f", client) })
	p.must("run", "-d", "--name", server, p.desk.busybox, "sh", "-c", "while :; do echo from the server | nc -l -p 8000; done")
	p.must("run", "-d", "--name", client, p.desk.busybox, "sleep", "1000")
	s, _ := p.find(server)
	c, _ := p.find(client)
	if len(s.Addresses) != 2 || len(c.Addresses) != 2 || s.Addresses[0] == c.Addresses[0] || s.Addresses[1] == c.Addresses[1] {
		t.Fatalf("addresses %v and %v", s.Addresses, c.Addresses)
	}
	address := func(c container) string { host, _, _ := strings.Cut(c.Addresses[0], "/"); return host }
	for _, test := range []struct{ name, script, want string }{
		{"lo and eth0, both up", "ls /sys/class/net; ip link | grep -c ',UP'", "eth0\nlo\n2\n"},
		{"its address is the one that ls shows", "ip -4 -o addr show eth0 | awk '{print $4}' | cut -d/ -f1", address(c) + "\n"},
		{"the gateway is the name server and on the default route", "test $(ip route | awk '/^default/ {print $3}') = $(awk '/^nameserver/ {print $2}' /etc/resolv.conf) && echo same", "same\n"},
		{"the gateway answers", "ping -c 1 -W 5 $(awk '/^nameserver/ {print $2}' /etc/resolv.conf) >/dev/null && echo yes", "yes\n"},
		{"names", "nslookup gateway.vzctl.internal | grep -c $(awk '/^nameserver/ {print $2}' /etc/resolv.conf)", "3\n"},
		{"another container is reached", "nc -w 10 " + address(s) + " 8000 </dev/null", "from the server\n"},
		{"a port that nobody has is refused", "nc -w 10 " + address(s) + " 8001 </dev/null 2>&1 | grep -c refused", "1\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if r := me(t).vzctl("exec", client, "sh", "-c", test.script); r.stdout != test.want {
				t.Errorf("it says %q, %q; want %q", r.stdout, r.stderr, test.want)
			}
		})
	}
	t.Run("an MTU of its own", func(t *testing.T) {
		p := me(t)
		dir := t.TempDir()
		p.env = append(slices.Clone(p.env), "XDG_CONFIG_HOME="+dir)
		p.configIn(dir, "[networks.narrow]\nmtu = 1400")
		if got := p.must("run", "--rm", "--network", "narrow", p.desk.busybox, "cat", "/sys/class/net/eth0/mtu"); got != "1400\n" {
			t.Errorf("the MTU is %q", got)
		}
	})
}
