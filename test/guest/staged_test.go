package guest

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestVMWhatIsPreparedIsWhatIsMadeOtherwise compares the first container, whose mounts were made at the machine's boot, with the second, whose are made for it.
func TestVMWhatIsPreparedIsWhatIsMadeOtherwise(t *testing.T) {
	g := start(t)
	const sight = `cat /proc/mounts; find /dev /sys/fs/cgroup /sys/firmware /proc/acpi /proc/bus /proc/irq /proc/sysrq-trigger /proc/kcore 2>/dev/null | while read f; do stat -c '%n %A %u %g %t %T' $f; done
echo x >/dev/shm/x && echo x >/dev/null && head -c4 /dev/urandom | wc -c; for f in /proc/sys/kernel/hostname /sys/x /proc/sysrq-trigger /sys/firmware/x /dev/full; do echo x >$f && echo written: $f; done
for n in ipc cgroup mnt pid uts; do [ $(readlink /proc/self/ns/$n) != "$n:[$(machine $n)]" ] && echo own $n; done; cat /proc/self/cgroup /proc/keys /proc/timer_list; ls -A /sys/firmware`
	// What namespaces the kernel begins with has fixed numbers (include/uapi/linux/nsfs.h).
	const machine = "machine() { case $1 in ipc) echo 4026531839;; cgroup) echo 4026531835;; mnt) echo 4026531841;; pid) echo 4026531836;; uts) echo 4026531838;; esac; }\n"
	var seen [][]string
	for _, id := range []string{"first", "second"} {
		result, err := g.Run(Container{ID: id, Args: []string{"sh", "-c", machine + sight}, Env: []string{"PATH=/bin"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.ReplaceAll(result.Stdout, "/"+id+"/", "/ID/"), "\n")
		slices.Sort(lines) // mounts are told in the order in which they were made
		seen = append(seen, lines)
	}
	if len(seen[0]) < 50 || !slices.Contains(seen[0], "own ipc") || slices.ContainsFunc(seen[0], func(l string) bool { return strings.HasPrefix(l, "written") }) {
		t.Errorf("the first saw %q", seen[0])
	}
	if !slices.Equal(seen[0], seen[1]) {
		t.Errorf("the first saw\n%s\nand the second\n%s", strings.Join(seen[0], "\n"), strings.Join(seen[1], "\n"))
	}
}

// TestVMAContainerInTheMachinesNamespaces is the first container and does not take the helper that has made others.
func TestVMAContainerInTheMachinesNamespaces(t *testing.T) {
	g := start(t)
	c := script("for n in ipc cgroup; do readlink /proc/self/ns/$n | sed 's/.*://'; done; grep -c mqueue /proc/mounts")
	c.ID, c.Env = "c", []string{"PATH=/bin"}
	c.Edit = func(s *specs.Spec) {
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
			return n.Type == specs.IPCNamespace || n.Type == specs.CgroupNamespace
		})
	}
	result, err := g.Run(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := "[4026531839]\n[4026531835]\n1\n"; result.Stdout != want {
		t.Errorf("%q, want %q; %q", result.Stdout, want, result.Stderr)
	}
}
