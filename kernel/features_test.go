// Package kernel holds the guest kernel's configuration and its build. There is no Go in it but the tests: of what the
// fragments ask for (features_test.go) and of the build rule (build_test.go). Whether a source tree grants what the
// fragments ask is checked by build.sh itself, in every build.
package kernel

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var architectures = []string{"x86_64", "arm64"}

// features is what a container, or an engine running inside one, may rely on, and the options that make it so.
var features = []struct {
	name    string
	options string
}{
	{"all eight kinds of namespace", "NAMESPACES UTS_NS IPC_NS USER_NS PID_NS NET_NS TIME_NS CGROUPS"},
	{"cgroup cpu controller with quotas", "CGROUP_SCHED FAIR_GROUP_SCHED CFS_BANDWIDTH CGROUP_CPUACCT"},
	{"cgroup cpuset controller", "CPUSETS"},
	{"cgroup memory controller, and swap under it", "MEMCG SWAP"},
	{"cgroup io controller: limits, latency, weights, priorities", "BLK_CGROUP BLK_DEV_THROTTLING BLK_CGROUP_IOLATENCY BLK_CGROUP_IOCOST BLK_CGROUP_IOPRIO"},
	{"cgroup pids, rdma, misc and hugetlb controllers", "CGROUP_PIDS CGROUP_RDMA CGROUP_MISC CGROUP_HUGETLB HUGETLBFS"},
	{"cgroup perf_event controller", "PERF_EVENTS CGROUP_PERF"},
	{"cgroup freezer", "CGROUP_FREEZER"},
	{"device rules and socket filters as BPF programs on cgroups", "BPF_SYSCALL CGROUP_BPF CGROUP_DEVICE"},
	{"pressure stall information", "PSI"},
	{"overlayfs", "OVERLAY_FS"},
	{"ext4 with ACLs, extended attributes and security labels", "EXT4_FS EXT4_FS_POSIX_ACL EXT4_FS_SECURITY"},
	{"erofs, compressed too, with ACLs, extended attributes and security labels", "EROFS_FS EROFS_FS_XATTR EROFS_FS_POSIX_ACL EROFS_FS_SECURITY EROFS_FS_ZIP"},
	{"FUSE and virtio-fs", "FUSE_FS VIRTIO_FS"},
	{"9p over virtio", "NET_9P NET_9P_VIRTIO 9P_FS 9P_FS_POSIX_ACL 9P_FS_SECURITY"},
	{"tmpfs with ACLs and extended attributes", "SHMEM TMPFS TMPFS_POSIX_ACL TMPFS_XATTR"},
	{"proc, sysfs, devtmpfs", "PROC_FS PROC_SYSCTL SYSFS DEVTMPFS"},
	{"loop devices", "BLK_DEV_LOOP"},
	{"pseudo terminals on devpts", "TTY UNIX98_PTYS"},
	{"System V IPC and POSIX message queues", "SYSVIPC POSIX_MQUEUE"},
	{"inotify and fanotify", "INOTIFY_USER FANOTIFY"},
	{"io_uring and asynchronous I/O", "IO_URING AIO"},
	{"file capabilities, file handles and locks", "MULTIUSER FHANDLE FILE_LOCKING"},
	{"futexes, event, timer and signal descriptors", "FUTEX EPOLL EVENTFD TIMERFD SIGNALFD MEMFD_CREATE"},
	{"kernel keyrings", "KEYS"},
	{"binfmt_misc and scripts", "BINFMT_ELF BINFMT_SCRIPT BINFMT_MISC"},
	{"seccomp filters", "SECCOMP SECCOMP_FILTER"},
	{"Landlock and Yama", "SECURITY SECURITY_LANDLOCK SECURITY_YAMA"},
	{"IPv4 and IPv6 with policy routing", "INET IPV6 IP_ADVANCED_ROUTER IP_MULTIPLE_TABLES IPV6_MULTIPLE_TABLES"},
	{"Unix, packet and netlink sockets, seen by ss", "UNIX UNIX_DIAG PACKET PACKET_DIAG NETLINK_DIAG INET_DIAG INET_UDP_DIAG"},
	{"bridges, veth pairs, tun and tap", "BRIDGE BRIDGE_NETFILTER VETH TUN"},
	{"VLAN, macvlan, ipvlan and dummy interfaces", "VLAN_8021Q MACVLAN IPVLAN DUMMY"},
	{"nf_tables for every family", "NF_TABLES NF_TABLES_INET NF_TABLES_NETDEV NF_TABLES_IPV4 NF_TABLES_IPV6"},
	{"connection tracking and NAT in nf_tables", "NF_CONNTRACK NF_CT_NETLINK NF_NAT NFT_CT NFT_NAT NFT_MASQ NFT_REDIR"},
	{"reject, log, limit and fib in nf_tables", "NFT_REJECT NFT_LOG NFT_LIMIT NFT_FIB_INET NFT_FIB_IPV4 NFT_FIB_IPV6"},
	{"iptables over nf_tables", "NFT_COMPAT NETFILTER_XTABLES NETFILTER_XT_MATCH_CONNTRACK NETFILTER_XT_MATCH_COMMENT NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_TARGET_MASQUERADE"},
	{"legacy iptables", "IP_NF_IPTABLES IP_NF_FILTER IP_NF_NAT IP6_NF_IPTABLES IP6_NF_FILTER IP6_NF_NAT"},
	{"vsock over virtio", "VSOCKETS VIRTIO_VSOCKETS"},
	{"virtio over mmio and PCI", "VIRTIO_MMIO PCI PCI_MSI VIRTIO_PCI"},
	{"virtio disk, network, console and entropy devices", "VIRTIO_BLK VIRTIO_NET VIRTIO_CONSOLE HW_RANDOM_VIRTIO"},
	{"balloon with free page reporting", "VIRTIO_BALLOON PAGE_REPORTING"},
	{"an initial RAM disk", "BLK_DEV_INITRD"},
	{"hardening that costs nothing measurable", "STACKPROTECTOR_STRONG STRICT_KERNEL_RWX VMAP_STACK FORTIFY_SOURCE HARDENED_USERCOPY SLAB_FREELIST_RANDOM SLAB_FREELIST_HARDENED INIT_STACK_ALL_ZERO BPF_UNPRIV_DEFAULT_OFF SECURITY_DMESG_RESTRICT"},
}

// machineFeatures are the same, of one architecture.
var machineFeatures = map[string][]struct{ name, options string }{
	"x86_64": {
		{"direct entry of the ELF file", "PVH"},
		{"microvm's devices without ACPI", "VIRTIO_MMIO_CMDLINE_DEVICES X86_MPPARSE"},
		{"machines with ACPI", "ACPI PCI_MMCONFIG"},
		{"KVM's clock", "HYPERVISOR_GUEST PARAVIRT KVM_GUEST"},
		{"a serial console", "SERIAL_8250 SERIAL_8250_CONSOLE"},
		{"speculation mitigations", "CPU_MITIGATIONS RETPOLINE"},
	},
	"arm64": {
		{"pages of 4 KiB", "ARM64_4K_PAGES"},
		{"PCI devices of a device tree machine", "PCI_HOST_GENERIC"},
		{"a serial console", "SERIAL_AMBA_PL011 SERIAL_AMBA_PL011_CONSOLE"},
		{"a wall clock", "RTC_DRV_PL031"},
		{"an address of its own at every boot", "RANDOMIZE_BASE"},
		{"page table isolation on the CPUs that need it", "UNMAP_KERNEL_AT_EL0"},
	},
}

func TestFragmentsRequestEveryFeature(t *testing.T) {
	for _, arch := range architectures {
		requested := request(t, arch)
		for _, feature := range append(features, machineFeatures[arch]...) {
			t.Run(arch+"/"+feature.name, func(t *testing.T) {
				for _, option := range strings.Fields(feature.options) {
					if got := requested["CONFIG_"+option]; got != "y" {
						t.Errorf("CONFIG_%s is %q in the fragments of %s, want y", option, got, arch)
					}
				}
			})
		}
	}
}

func TestFragmentsRequestNothingUnwanted(t *testing.T) {
	for _, arch := range architectures {
		requested := request(t, arch)
		for option, value := range requested {
			if value == "m" {
				t.Errorf("%s is a module in the fragments of %s; this kernel has none", option, arch)
			}
		}
		for _, option := range []string{"CONFIG_MODULES", "CONFIG_USERFAULTFD", "CONFIG_LEGACY_PTYS", "CONFIG_JUMP_LABEL"} {
			if got := requested[option]; got != "n" {
				t.Errorf("%s is %q in the fragments of %s, want it named and off", option, got, arch)
			}
		}
	}
}

func TestEveryFragmentLineIsAnOptionOrAComment(t *testing.T) {
	for _, arch := range architectures {
		request(t, arch)
	}
}

func TestCommandLinesNameNoContainerAndNoMachine(t *testing.T) {
	for _, arch := range architectures {
		text, err := os.ReadFile(filepath.Join("config", arch+".cmdline"))
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.Fields(withoutComments(string(text))) {
			for _, foreign := range []string{"console=", "root=", "init=", "ip=", "virtio_mmio.", "tsc_early_khz", "nolapic"} {
				if strings.HasPrefix(word, foreign) {
					t.Errorf("%s.cmdline has %q, which is the hypervisor plugin's to say", arch, word)
				}
			}
			if strings.ContainsAny(word, "\"\\") {
				t.Errorf("%s.cmdline has %q, which kernel.json cannot hold unescaped", arch, word)
			}
		}
	}
}

var (
	set   = regexp.MustCompile(`^(CONFIG_[A-Za-z0-9_]+)=(.+)$`)
	unset = regexp.MustCompile(`^# (CONFIG_[A-Za-z0-9_]+) is not set$`)
)

// request reads what both fragments of an architecture ask for. An option asked for twice is a mistake: which one wins
// would depend on the order of files.
func request(t *testing.T, arch string) map[string]string {
	t.Helper()
	requested := map[string]string{}
	for _, name := range []string{"common.config", arch + ".config"} {
		file, err := os.Open(filepath.Join("config", name))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for number := 1; lines.Scan(); number++ {
			line := lines.Text()
			option, value := "", "n"
			if match := set.FindStringSubmatch(line); match != nil {
				option, value = match[1], match[2]
			} else if match := unset.FindStringSubmatch(line); match != nil {
				option = match[1]
			} else if line == "" || strings.HasPrefix(line, "#") {
				continue
			} else {
				t.Errorf("%s:%d: %q is neither an option nor a comment", name, number, line)
				continue
			}
			if _, twice := requested[option]; twice {
				t.Errorf("%s:%d: %s is asked for a second time", name, number, option)
			}
			requested[option] = value
		}
		if err := lines.Err(); err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
	}
	return requested
}

func withoutComments(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
