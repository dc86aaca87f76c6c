package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// present prints what a process can see of its machine that does not count, nor measure, nor name; numbers of processes hang on how many threads Go's runtime takes. /proc/partitions is not in it: the read-only disks of clones are
// shown with a size that they do not have, see docs/templates.md.
const present = `exec 2>&1
cat /proc/mounts /proc/cmdline /proc/swaps /proc/locks /proc/modules /proc/consoles /proc/self/limits /proc/self/cgroup /proc/sysvipc/*
ps -o user,args; wc -l </sys/fs/cgroup/cgroup.procs; env; ls -l /proc/self/fd | sed -e 's/.* //' -e 's/:.*//'
find / -xdev -path /bin -prune -o -print; find /dev /run /tmp /etc -ls | sed 's/^ *[0-9]* *[0-9]* //'
for f in tcp tcp6 udp udp6 raw raw6 unix netlink packet icmp; do echo $f; tail -n +2 /proc/net/$f | wc -l; done; cat /proc/net/arp /proc/net/ip_tables_names
grep -E 'Sig|Shd|Cap|Seccomp|NoNewPrivs|Cpus_allowed:|Groups|Umask|Threads' /proc/self/status
for f in cgroup.controllers cgroup.stat cgroup.type cpu.max cpu.weight io.max memory.max memory.high memory.events memory.swap.max pids.max pids.current; do
	echo $f; cat /sys/fs/cgroup/$f; done
grep -r . /proc/sys | sort
cat /sys/block/*/serial; ls /sys/class/net /sys/class/block /sys/bus/virtio/devices; dmesg | head -3; nice; ulimit -a; tty; id; cat /proc/self/oom_score_adj /proc/self/timerslack_ns /proc/self/personality`

// changing are settings that count or are drawn by lot.
var changing = regexp.MustCompile(`^/proc/sys/(kernel/random/|kernel/ns_last_pid|fs/(inode|dentry|file)-|kernel/pty/nr|net/netfilter/nf_conntrack_count|fs/aio-nr)`)

var (
	identifier = regexp.MustCompile(`[0-9a-f]{32}`)
	dates      = regexp.MustCompile(`[A-Z][a-z]{2} +[0-9]+ +[0-9:]+ `)
)

// TestE2ECloneShowsNoTraceOfItsTemplate compares what the first process of a clone sees with what that of a machine sees that was booted for it.
func TestE2ECloneShowsNoTraceOfItsTemplate(t *testing.T) {
	p := alone(t)
	p.must("run", "--rm", p.desk.busybox, "true") // makes the template
	booted, cloned := p.presence("--hypervisor-opt", "templates=off"), p.presence("--hypervisor-opt", "standby=off")
	if len(booted) < 500 {
		t.Errorf("it looks at nothing: %q", booted)
	}
	logs, err := filepath.Glob(filepath.Join(p.root, "sandboxes/*/supervisor.log"))
	if err != nil || len(logs) != 2 {
		t.Errorf("there are logs %v, %v", logs, err)
	}
	for _, path := range logs {
		if text, err := os.ReadFile(path); err != nil || len(text) > 0 {
			t.Errorf("a supervisor's log says %q, %v", text, err)
		}
	}
	sameSight(t, booted, cloned)
}

// presence is what a process sees of its machine, which was booted or cloned as the options say.
func (p *person) presence(options ...string) (lines []string) {
	p.t.Helper()
	name := p.name()
	args := append([]string{"run", "--hostname", "box", "--name", name}, options...)
	out := p.must(append(args, p.desk.busybox, "sh", "-c", present)...)
	if booted := slices.Contains(options, "templates=off"); p.cloned(name) == booted {
		p.t.Fatalf("%v was cloned: %v", options, !booted)
	}
	for line := range strings.Lines(out) {
		if line = dates.ReplaceAllString(identifier.ReplaceAllString(line, "ID"), "DATE "); !changing.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

func sameSight(t *testing.T, booted, other []string) {
	t.Helper()
	for _, line := range other {
		if !slices.Contains(booted, line) {
			t.Errorf("not in the machine that was booted: %s", line)
		}
	}
	for _, line := range booted {
		if !slices.Contains(other, line) {
			t.Errorf("only in the machine that was booted: %s", line)
		}
	}
}
