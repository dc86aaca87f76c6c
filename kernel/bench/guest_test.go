//go:build integration

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// guestScript asks a running kernel what features_test.go only finds requested. Each line it prints is "subject: words".
const guestScript = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sysfs /sys; $b mount -t devtmpfs dev /dev; $b mount -t tmpfs tmpfs /mnt
$b mkdir /mnt/cgroup /mnt/lsm /mnt/binfmt /mnt/mqueue /mnt/low /mnt/up /mnt/work /mnt/merged /mnt/pts
$b mount -t cgroup2 c /mnt/cgroup
echo controllers: $($b cat /mnt/cgroup/cgroup.controllers)
echo cgroup files: $($b mkdir /mnt/cgroup/x; for c in $($b cat /mnt/cgroup/cgroup.controllers); do echo +$c; done > /mnt/cgroup/all; for c in $($b cat /mnt/cgroup/cgroup.controllers); do echo +$c > /mnt/cgroup/cgroup.subtree_control; done; $b ls /mnt/cgroup/x)
echo file systems: $($b cat /proc/filesystems)
echo namespaces: $($b ls /proc/self/ns)
echo pressure: $($b ls /proc/pressure)
echo seccomp: $($b cat /proc/sys/kernel/seccomp/actions_avail)
$b mount -t securityfs s /mnt/lsm; echo lsm: $($b cat /mnt/lsm/lsm)
for fs in binfmt_misc:binfmt mqueue:mqueue devpts:pts; do $b mount -t ${fs%:*} x /mnt/${fs#*:} && echo mounts: ${fs%:*}; done
$b mount -t overlay o -o lowerdir=/mnt/low,upperdir=/mnt/up,workdir=/mnt/work /mnt/merged && echo mounts: overlay
for kind in bridge veth dummy; do $b ip link add name t-$kind type $kind && echo links: $kind; done
$b ip link add link t-dummy name t-vlan type vlan id 5 && echo links: vlan
$b ip link add link t-dummy name t-macvlan type macvlan && echo links: macvlan
$b ip link add link veth0 name t-ipvlan type ipvlan && echo links: ipvlan
echo devices: $($b ls /dev /dev/net)
echo virtio: $($b ls /sys/bus/virtio/drivers)
echo entropy: $($b cat /sys/class/misc/hw_random/rng_current)
echo sockets: $($b awk 'NR > 1 { print $1 }' /proc/net/protocols)
echo netfilter: $($b ls /proc/sys/net/netfilter) $($b cat /proc/net/ip_tables_names /proc/net/ip6_tables_names)
echo sysctl: $($b ls /proc/sys/vm /proc/sys/kernel)
echo io: $($b cat /proc/self/io)
echo vzctl-bench: init reached, counter 1
$b reboot -f
`

// TestGuestHasWhatContainersNeed boots the kernel that build.sh leaves, with busybox as its whole user space.
func TestGuestHasWhatContainersNeed(t *testing.T) {
	build := exec.Command("../build.sh", "--arch", "x86_64", "--out", t.TempDir())
	build.Stderr = os.Stderr
	kernel, err := build.Output()
	if err != nil {
		t.Fatalf("build the kernel: %v", err)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("the guest's user space is Debian's busybox-static: %v", err)
	}
	initrd := filepath.Join(t.TempDir(), "initrd.cpio")
	files := archive([]string{"bin", "proc", "sys", "mnt"}, program{"bin/busybox", busybox}, program{"init", []byte(guestScript)})
	if err := os.WriteFile(initrd, files, 0o600); err != nil {
		t.Fatal(err)
	}
	var console bytes.Buffer
	guest := machine{initrd: initrd, memoryMiB: 256, cpu: "max,-erms,-fsrm", console: &console, devices: []string{
		"-device", "virtio-rng-device", "-device", "virtio-balloon-device,free-page-reporting=on", "-device", "virtio-serial-device",
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := guest.boot(ctx, strings.TrimSpace(string(kernel)), false); err != nil {
		t.Fatalf("boot: %v", err)
	}
	said := answers(console.String())
	for _, want := range []struct{ subject, words string }{
		{"controllers", "cpuset cpu io memory hugetlb pids rdma misc"},
		{"cgroup files", "cpu.max cpuset.cpus io.max io.latency io.prio.class memory.max memory.swap.max pids.max hugetlb.2MB.max rdma.max misc.max cgroup.freeze memory.pressure"},
		{"file systems", "ext4 erofs overlay fuse virtiofs 9p tmpfs devpts mqueue bpf cgroup2 binfmt_misc"},
		{"namespaces", "cgroup ipc mnt net pid time user uts"},
		{"pressure", "cpu io memory"},
		{"seccomp", "kill_process user_notif errno trace log allow"},
		{"lsm", "landlock yama"},
		{"mounts", "binfmt_misc mqueue devpts overlay"},
		{"links", "bridge veth dummy vlan macvlan ipvlan"},
		{"devices", "fuse loop-control ptmx vsock tun hwrng null zero full random urandom tty"},
		{"virtio", "virtio_blk virtio_net virtio_console virtio_rng virtio_balloon virtiofs vmw_vsock_virtio_transport 9pnet_virtio"},
		{"entropy", "virtio_rng.0"},
		{"sockets", "UNIX PACKET NETLINK TCP TCPv6 UDP UDPv6 AF_VSOCK PING RAW"},
		{"netfilter", "nf_conntrack_max nf_log"},
		{"sysctl", "io_uring_disabled|overcommit_memory unprivileged_bpf_disabled"},
		{"io", "read_bytes: write_bytes:"},
	} {
		t.Run(want.subject, func(t *testing.T) {
			for _, word := range strings.Fields(want.words) {
				if !oneOf(said[want.subject], strings.Split(word, "|")) {
					t.Errorf("the guest lacks %q among its %s: %v", word, want.subject, said[want.subject])
				}
			}
		})
	}
	if oneOf(said["sysctl"], []string{"unprivileged_userfaultfd"}) {
		t.Error("the guest's kernel has userfaultfd")
	}
}

// answers collects the words of each subject; a subject may have several lines.
func answers(console string) map[string][]string {
	said := map[string][]string{}
	for line := range strings.Lines(console) {
		subject, words, _ := strings.Cut(strings.TrimSpace(line), ": ")
		said[subject] = append(said[subject], strings.FieldsFunc(words, func(r rune) bool { return r == ' ' || r == ',' })...)
	}
	return said
}

func oneOf(words, choices []string) bool {
	for _, word := range words {
		for _, choice := range choices {
			if word == choice {
				return true
			}
		}
	}
	return false
}
