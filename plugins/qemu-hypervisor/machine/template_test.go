package machine

import (
	"slices"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

func shaped() hypervisor.Spec {
	return hypervisor.Spec{
		ID: "a", Arch: "amd64", CPUs: 1, MemoryBytes: 256 << 20, RuntimeDir: "/run/secret-run", StateDir: "/state/secret", ConsolePath: "/secret/console",
		Kernel: hypervisor.Kernel{Path: "/kernel", Format: "elf-pvh", CommandLine: "quiet"}, InitrdPath: "/initrd",
		Disks: []hypervisor.Disk{
			{Serial: "secret0", ReadOnly: true, File: &hypervisor.FileBackend{Path: "/secret/base", Format: "raw"}},
			{Serial: "secret1", File: &hypervisor.FileBackend{Path: "/secret/layer", Format: "raw"}}},
		NICs: []hypervisor.NIC{{ID: "nic0", MAC: "02:00:00:00:00:01", MTU: 65000,
			Link: network.Link{UnixDatagram: &network.UnixDatagram{VMPath: "/run/secret-run/vm", NetworkPath: "/run/secret-run/net"}}}},
		Shares: []hypervisor.Share{{Tag: "share0", Path: "/secret/home"}},
	}
}

func TestShapeKnowsTheMachineAndNothingOfTheContainer(t *testing.T) {
	host := Host{OS: "linux", Accelerator: TCG, TSCKilohertz: 1}
	own := Shape(shaped(), host)
	if text := strings.Join(own, " "); strings.Contains(text, "secret") || strings.Contains(text, "02:00") {
		t.Errorf("the shape tells of the container: %s", text)
	}
	for name, c := range map[string]struct {
		change func(*hypervisor.Spec)
		same   bool
	}{
		"another container": {func(s *hypervisor.Spec) {
			s.ID, s.RuntimeDir, s.StateDir, s.ConsolePath = "b", "/run/other", "/state/other", "/other"
			s.Disks[0].Serial, s.Disks[0].File.Path, s.Disks[1].File.Path = "x", "/x", "/y"
			s.NICs[0].MAC, s.NICs[0].Link.UnixDatagram.VMPath = "02:00:00:00:00:02", "/run/other/vm"
		}, true},
		"another directory that is shared": {func(s *hypervisor.Spec) {
			s.Shares[0].Path, s.Shares[0].ReadOnly, s.Shares[0].Ownership = "/other", true, hypervisor.OwnershipMapped
		}, true},
		"no share":              {func(s *hypervisor.Spec) { s.Shares = nil }, false},
		"another tag":           {func(s *hypervisor.Spec) { s.Shares[0].Tag = "b" }, false},
		"more memory":           {func(s *hypervisor.Spec) { s.MemoryBytes++ }, false},
		"more CPUs":             {func(s *hypervisor.Spec) { s.CPUs++ }, false},
		"another kernel":        {func(s *hypervisor.Spec) { s.Kernel.Path = "/other" }, false},
		"another command line":  {func(s *hypervisor.Spec) { s.Kernel.CommandLine = "" }, false},
		"another init image":    {func(s *hypervisor.Spec) { s.InitrdPath = "/other" }, false},
		"one disk more":         {func(s *hypervisor.Spec) { s.Disks = append(s.Disks, s.Disks[0]) }, false},
		"a disk that is shared": {func(s *hypervisor.Spec) { s.Disks[1].ReadOnly = true }, false},
		"no network":            {func(s *hypervisor.Spec) { s.NICs = nil }, false},
		"another MTU":           {func(s *hypervisor.Spec) { s.NICs[0].MTU = 1500 }, false},
		"no console":            {func(s *hypervisor.Spec) { s.ConsolePath = "" }, false},
		"another CPU model":     {func(s *hypervisor.Spec) { s.Options = map[string]string{OptionCPU: "qemu64"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := shaped()
			c.change(&s)
			if same := slices.Equal(own, Shape(s, host)); same != c.same {
				t.Errorf("the shape is the same: %v", same)
			}
		})
	}
	if slices.Equal(own, Shape(shaped(), Host{OS: "linux", Accelerator: KVM})) {
		t.Error("the shape is the same with another accelerator")
	}
}
