package machine

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

var update = flag.Bool("update", false, "write the golden files anew")

// small is a VM as a container gets it.
func small() hypervisor.Spec {
	return hypervisor.Spec{
		ID: "sandbox1", Arch: "amd64", CPUs: 1, MemoryBytes: 256 << 20,
		Kernel:     hypervisor.Kernel{Path: "/kernels/vmlinux", Format: "elf-pvh", CommandLine: "quiet panic=-1"},
		InitrdPath: "/libexec/initrd.cpio",
		RuntimeDir: "/run/vzctl/0123456789abcdef",
		Disks: []hypervisor.Disk{
			{Serial: "rootfs0", ReadOnly: true, File: &hypervisor.FileBackend{Path: "/rootfs/a, \"b\".ext4", Format: "raw"}},
			{Serial: "layer", File: &hypervisor.FileBackend{Path: "/containers/1/layer.ext4", Format: "raw"}},
		},
		NICs: []hypervisor.NIC{{ID: "eth0", MAC: "02:00:00:00:00:01", MTU: 65000, Link: network.Link{
			UnixDatagram: &network.UnixDatagram{VMPath: "/run/vzctl/0123456789abcdef/vm0", NetworkPath: "/run/vzctl/net/port1"}}}},
	}
}

func changed(change func(*hypervisor.Spec)) hypervisor.Spec {
	s := small()
	change(&s)
	return s
}

func TestCommandLines(t *testing.T) {
	emulated := Host{OS: "linux", Accelerator: TCG, TSCKilohertz: 2_596_134}
	for name, c := range map[string]struct {
		spec    hypervisor.Spec
		host    Host
		console int
	}{
		"emulated":             {small(), emulated, -1},
		"console":              {small(), emulated, 5},
		"several-cpus":         {changed(func(s *hypervisor.Spec) { s.CPUs = 4 }), emulated, -1},
		"unsteady-counter":     {small(), Host{OS: "linux", Accelerator: TCG}, -1},
		"kvm":                  {small(), Host{OS: "linux", Accelerator: KVM, TSCKilohertz: 2_596_134}, -1},
		"cpu-chosen":           {changed(func(s *hypervisor.Spec) { s.Options = map[string]string{OptionCPU: "qemu64,+aes"} }), emulated, -1},
		"placed-anew":          {changed(func(s *hypervisor.Spec) { s.Options = map[string]string{OptionRandomize: "process"} }), emulated, -1},
		"bare":                 {changed(func(s *hypervisor.Spec) { s.Disks, s.NICs, s.InitrdPath = nil, nil, "" }), emulated, -1},
		"many-disks-need-acpi": {changed(manyDisks), emulated, -1},
		"nic-without-mac":      {changed(func(s *hypervisor.Spec) { s.NICs[0].MAC, s.NICs[0].MTU = "", 0 }), emulated, -1},
		"arm64-emulated":       {changed(arm), emulated, 5},
		"arm64-kvm":            {changed(arm), Host{OS: "linux", Accelerator: KVM}, -1},
		"arm64-hvf":            {changed(arm), Host{OS: "darwin", Accelerator: HVF}, -1},
		"arm64-several-nics":   {changed(func(s *hypervisor.Spec) { arm(s); twoNICs(s) }), emulated, -1},
		"several-nics":         {changed(twoNICs), emulated, -1},
		"shares":               {changed(sharing(hypervisor.Share{Tag: "share0", Path: "/home/a, b"}, hypervisor.Share{Tag: "share1", Path: "/srv", ReadOnly: true, Ownership: "mapped"})), emulated, -1},
		"shares-as-root":       {changed(sharing(hypervisor.Share{Tag: "share0", Path: "/srv"})), Host{OS: "linux", Accelerator: TCG, Root: true}, -1},
		"share-by-virtiofs": {changed(sharing(hypervisor.Share{Tag: "share0", Path: "/srv"}, hypervisor.Share{Tag: "share1", Path: "/srv", Type: "virtiofs"})),
			Host{OS: "linux", Accelerator: TCG, Root: true}, -1},
		"hvf":               {small(), Host{OS: "darwin", Accelerator: HVF}, -1},
		"emulated-on-a-mac": {small(), Host{OS: "darwin", Accelerator: TCG}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Check(c.spec); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(Arguments(c.spec, c.host, Wiring{QMP: 3, Mux: 4, Console: c.console, VirtioFS: map[int]int{1: 6}}), "\n") + "\n"
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("arguments are\n%s\nwant, as in %s,\n%s", got, path, want)
			}
		})
	}
}

func manyDisks(s *hypervisor.Spec) {
	for i := range 8 {
		s.Disks = append(s.Disks, hypervisor.Disk{Serial: fmt.Sprintf("data%d", i), File: &hypervisor.FileBackend{Path: fmt.Sprintf("/data/%d", i), Format: "raw"}})
	}
}

func sharing(shares ...hypervisor.Share) func(*hypervisor.Spec) {
	return func(s *hypervisor.Spec) { s.Shares, s.StateDir = shares, "/state" }
}

func twoNICs(s *hypervisor.Spec) {
	s.NICs = append(s.NICs, hypervisor.NIC{ID: "eth1", MAC: "02:00:00:00:00:02", Link: network.Link{
		UnixDatagram: &network.UnixDatagram{VMPath: "/run/vzctl/0123456789abcdef/vm1", NetworkPath: "/run/vzctl/net/port2"}}})
}

func arm(s *hypervisor.Spec) {
	s.Arch, s.Kernel = "arm64", hypervisor.Kernel{Path: "/kernels/Image", Format: "raw", CommandLine: "quiet panic=-1"}
}

// Nothing of a container may be in what the guest or a template's key sees of the machine.
func TestVMsOfOneLayoutDifferOnlyInPathsSerialsAndAddresses(t *testing.T) {
	one := small()
	other := changed(func(s *hypervisor.Spec) {
		s.ID = "another"
		s.Disks[0].Serial = "rootfs9"
		s.NICs[0].MAC = "02:00:00:00:00:09"
	})
	host := Host{Accelerator: TCG}
	if a, b := Words(one, host, true), Words(other, host, true); a != b {
		t.Errorf("kernel command lines differ:\n%s\n%s", a, b)
	}
}

func TestWhatIsNotOfferedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*hypervisor.Spec)
		reason fault.Reason
		says   string
	}{
		"bad id":                    {func(s *hypervisor.Spec) { s.ID = "a/b" }, fault.Invalid, "id"},
		"id of 65 characters":       {func(s *hypervisor.Spec) { s.ID = strings.Repeat("a", 65) }, fault.Invalid, "id"},
		"architecture":              {func(s *hypervisor.Spec) { s.Arch = "riscv64" }, fault.Unsupported, "riscv64"},
		"no CPU":                    {func(s *hypervisor.Spec) { s.CPUs = 0 }, fault.Invalid, "CPU"},
		"too many CPUs":             {func(s *hypervisor.Spec) { s.CPUs = 65 }, fault.Unsupported, "65"},
		"too little memory":         {func(s *hypervisor.Spec) { s.MemoryBytes = 1 << 20 }, fault.Invalid, "at least 64 MiB"},
		"kernel format":             {func(s *hypervisor.Spec) { s.Kernel.Format = "raw" }, fault.Unsupported, "elf-pvh"},
		"line end in command line":  {func(s *hypervisor.Spec) { s.Kernel.CommandLine = "a\nb" }, fault.Invalid, "line end"},
		"relative path":             {func(s *hypervisor.Spec) { s.Kernel.Path = "vmlinux" }, fault.Invalid, "absolute"},
		"relative cache directory":  {func(s *hypervisor.Spec) { s.CacheDir = "cache" }, fault.Invalid, "absolute"},
		"no runtime directory":      {func(s *hypervisor.Spec) { s.RuntimeDir = "" }, fault.Invalid, "runtime directory"},
		"long runtime directory":    {func(s *hypervisor.Spec) { s.RuntimeDir = "/" + strings.Repeat("a", 100) }, fault.Invalid, "shorter"},
		"long socket of a network":  {func(s *hypervisor.Spec) { s.NICs[0].Link.UnixDatagram.NetworkPath = "/" + strings.Repeat("a", 107) }, fault.Invalid, "107"},
		"unknown option":            {func(s *hypervisor.Spec) { s.Options = map[string]string{"speed": "11"} }, fault.Unsupported, "speed"},
		"unknown accelerator":       {func(s *hypervisor.Spec) { s.Options = map[string]string{"accelerator": "xen"} }, fault.Unsupported, "xen"},
		"profile of another plugin": {func(s *hypervisor.Spec) { s.Options = map[string]string{"profile": "pci"} }, fault.Unsupported, "microvm"},
		"CPU model with a space":    {func(s *hypervisor.Spec) { s.Options = map[string]string{"cpu": "max -S"} }, fault.Invalid, "CPU model"},
		"nested virtualization":     {func(s *hypervisor.Spec) { s.NestedVirtualization = true }, fault.Unsupported, "nested"},
		"Rosetta":                   {func(s *hypervisor.Spec) { s.Rosetta = true }, fault.Unsupported, "Rosetta"},
		"share by no known way":     {sharing(hypervisor.Share{Tag: "a", Path: "/home", Type: "nfs"}), fault.Unsupported, "9p or virtiofs"},
		"mapped virtio-fs":          {sharing(hypervisor.Share{Tag: "a", Path: "/home", Type: "virtiofs", Ownership: "mapped"}), fault.Unsupported, "9p"},
		"ownership":                 {sharing(hypervisor.Share{Tag: "a", Path: "/home", Ownership: "mine"}), fault.Unsupported, "mine"},
		"tag with a comma":          {sharing(hypervisor.Share{Tag: "a,b", Path: "/home"}), fault.Invalid, "a,b"},
		"one tag twice":             {sharing(hypervisor.Share{Tag: "a", Path: "/home"}, hypervisor.Share{Tag: "a", Path: "/srv"}), fault.Invalid, "two shares"},
		"relative share":            {sharing(hypervisor.Share{Tag: "a", Path: "home"}), fault.Invalid, "absolute"},
		"block device": {func(s *hypervisor.Spec) {
			s.Disks[0].File, s.Disks[0].Block = nil, &hypervisor.BlockBackend{Path: "/dev/sda"}
		}, fault.Unsupported, "rootfs0"},
		"disk format":        {func(s *hypervisor.Spec) { s.Disks[0].File.Format = "qcow2" }, fault.Unsupported, "qcow2"},
		"serial of 21 bytes": {func(s *hypervisor.Spec) { s.Disks[0].Serial = strings.Repeat("a", 21) }, fault.Invalid, "serial"},
		"one serial twice":   {func(s *hypervisor.Spec) { s.Disks[1].Serial = "rootfs0" }, fault.Invalid, "rootfs0"},
		"link":               {func(s *hypervisor.Spec) { s.NICs[0].Link = network.Link{Tap: &network.Tap{Device: "tap0"}} }, fault.Unsupported, "tap"},
		"no link":            {func(s *hypervisor.Spec) { s.NICs[0].Link = network.Link{} }, fault.Unsupported, "card 0"},
		"multicast MAC":      {func(s *hypervisor.Spec) { s.NICs[0].MAC = "03:00:00:00:00:01" }, fault.Invalid, "MAC"},
		"MTU":                {func(s *hypervisor.Spec) { s.NICs[0].MTU = 70_000 }, fault.Invalid, "MTU"},
		"22 devices": {func(s *hypervisor.Spec) {
			for range 3 {
				manyDisks(s)
			}
		}, fault.Unsupported, "at most 21"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(changed(c.change))
			if !errors.Is(err, c.reason) || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("refused with %v; want %v, and %q in it", err, c.reason, c.says)
			}
		})
	}
}
