package runtimespec

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/sdk/fault"
)

func build(t *testing.T, i Isolation) *specs.Spec {
	t.Helper()
	spec, err := Build(Input{ContainerID: "c", Args: []string{"sh"}, MemoryBytes: 100, Isolation: i})
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestCapabilities(t *testing.T) {
	without := func(all []string, names ...string) string {
		left := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(names, name) })
		slices.Sort(left)
		return strings.Join(left, " ")
	}
	tests := []struct {
		name      string
		isolation Isolation
		want      string
	}{
		{"the fourteen", Isolation{}, without(defaultCapabilities)},
		{"one more", Isolation{CapAdd: []string{"NET_ADMIN"}}, without(append(slices.Clone(defaultCapabilities), "CAP_NET_ADMIN"))},
		{"one that is there already", Isolation{CapAdd: []string{"CAP_CHOWN"}}, without(defaultCapabilities)},
		{"one less, in small letters", Isolation{CapDrop: []string{"cap_chown"}}, without(defaultCapabilities, "CAP_CHOWN")},
		{"none", Isolation{CapDrop: []string{"all"}}, ""},
		{"none but one", Isolation{CapDrop: []string{"ALL"}, CapAdd: []string{"kill"}}, "CAP_KILL"},
		{"all", Isolation{CapAdd: []string{"ALL"}}, without(allCapabilities)},
		{"all but one", Isolation{CapAdd: []string{"ALL"}, CapDrop: []string{"SYS_BOOT"}}, without(allCapabilities, "CAP_SYS_BOOT")},
		{"privileged", Isolation{Privileged: true}, without(allCapabilities)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := build(t, test.isolation).Process.Capabilities
			for name, set := range map[string][]string{"bounding": c.Bounding, "effective": c.Effective, "permitted": c.Permitted} {
				if got := strings.Join(set, " "); got != test.want {
					t.Errorf("%s: %s\nwant %s", name, got, test.want)
				}
			}
			if len(c.Inheritable)+len(c.Ambient) > 0 {
				t.Errorf("inheritable %v, ambient %v", c.Inheritable, c.Ambient)
			}
		})
	}
}

func TestWhatIsAskedForIsInTheSpec(t *testing.T) {
	score := 500
	spec := build(t, Isolation{NoNewPrivileges: true, Ulimits: []string{"nofile=1:2", "core=-1", "nofile=3"}, Sysctls: map[string]string{"net.core.somaxconn": "9"},
		Groups: []string{"7", "staff"}, OOMScoreAdj: &score, ShmBytes: 4096, Tmpfs: []string{"/run", "/dev/shm:size=1m,mode=700,exec"}, PidsLimit: 5,
		CPUShares: 10, MemorySwap: 200})
	p, r := spec.Process, spec.Linux.Resources
	unlimited := ^uint64(0)
	if want := []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: unlimited, Hard: unlimited}, {Type: "RLIMIT_NOFILE", Soft: 3, Hard: 3}}; !slices.Equal(p.Rlimits, want) {
		t.Errorf("limits %v, want %v", p.Rlimits, want)
	}
	if !p.NoNewPrivileges || *p.OOMScoreAdj != 500 || !slices.Equal(p.User.AdditionalGids, []uint32{7}) || spec.Linux.Sysctl["net.core.somaxconn"] != "9" {
		t.Errorf("process %+v, sysctl %v", p, spec.Linux.Sysctl)
	}
	if *r.Pids.Limit != 5 || *r.CPU.Shares != 10 || *r.Memory.Swap != 200 {
		t.Errorf("resources %+v", r)
	}
	var found []string
	for _, m := range spec.Mounts {
		if m.Type == "tmpfs" && m.Destination != "/dev" {
			found = append(found, m.Destination+" "+strings.Join(m.Options, ","))
		}
	}
	if want := []string{"/run nosuid,nodev,noexec,mode=1777", "/dev/shm nosuid,nodev,noexec,size=1m,mode=700,exec"}; !slices.Equal(found, want) {
		t.Errorf("tmpfs %q, want %q", found, want)
	}
}

func TestPartsOfCPUsGoTogetherWithWhatElseIsSaidOfThem(t *testing.T) {
	cpu := build(t, Isolation{CPUThousandths: 500, CPUShares: 7, CPUSet: "0"}).Linux.Resources.CPU
	if *cpu.Quota != 50_000 || *cpu.Period != 100_000 || *cpu.Shares != 7 || cpu.Cpus != "0" {
		t.Errorf("CPU %+v", cpu)
	}
}

func TestNoMountHidesOneThatLiesDeeper(t *testing.T) {
	spec := build(t, Isolation{Tmpfs: []string{"/a/b/c", "/dev", "/a/b", "/a", "/b"}})
	for i, m := range spec.Mounts {
		for _, later := range spec.Mounts[i+1:] {
			if strings.HasPrefix(m.Destination, later.Destination+"/") {
				t.Errorf("%s is mounted over %s", later.Destination, m.Destination)
			}
		}
	}
	if len(spec.Mounts) != len(usualMounts())+4 {
		t.Errorf("there are %d mounts", len(spec.Mounts))
	}
}

func TestSysctlsMayBeWrittenWithSlashes(t *testing.T) {
	spec := build(t, Isolation{Sysctls: map[string]string{"net/ipv4/conf/eth0.1/forwarding": "1", "net.ipv4.conf.eth0/2.forwarding": "2", "kernel/msgmax": "3"}})
	want := map[string]string{"net.ipv4.conf.eth0/1.forwarding": "1", "net.ipv4.conf.eth0/2.forwarding": "2", "kernel.msgmax": "3"}
	if !maps.Equal(spec.Linux.Sysctl, want) {
		t.Errorf("%v, want %v", spec.Linux.Sysctl, want)
	}
}

func TestPrivilegedHidesNothing(t *testing.T) {
	spec := build(t, Isolation{Privileged: true})
	if l := spec.Linux; len(l.MaskedPaths)+len(l.ReadonlyPaths) > 0 || len(l.Resources.Devices) != 1 || !l.Resources.Devices[0].Allow {
		t.Errorf("%+v", l)
	}
	for _, m := range spec.Mounts {
		if slices.Contains(m.Options, "ro") {
			t.Errorf("%s is read-only", m.Destination)
		}
	}
	if build(t, Isolation{}).Linux.MaskedPaths == nil {
		t.Error("the next container hides nothing either")
	}
}

func TestEveryUlimitIsOneOfTheRuntimeSpec(t *testing.T) {
	for _, name := range ulimitTypes {
		if limits, err := rlimits([]string{name + "=1:2"}); err != nil || len(limits) != 1 || limits[0].Soft != 1 || limits[0].Hard != 2 {
			t.Errorf("%s: %v, %v", name, limits, err)
		}
	}
	if len(ulimitTypes) != 16 {
		t.Errorf("there are %d", len(ulimitTypes))
	}
}

func TestWhatCannotBeIsRefusedWithItsName(t *testing.T) {
	low, high := -1001, 1001
	for _, test := range []struct {
		name      string
		isolation Isolation
		says      string
	}{
		{"a capability to add", Isolation{CapAdd: []string{"FLY"}}, "FLY"},
		{"a capability to drop", Isolation{CapDrop: []string{"CAP_FLY"}}, "CAP_FLY"},
		{"a ulimit", Isolation{Ulimits: []string{"files=1"}}, "files"},
		{"a ulimit without a value", Isolation{Ulimits: []string{"nofile"}}, "nofile"},
		{"a ulimit that is no number", Isolation{Ulimits: []string{"nofile=many"}}, "many"},
		{"a soft limit above the hard one", Isolation{Ulimits: []string{"nofile=3:2"}}, "3:2"},
		{"a sysctl of the machine", Isolation{Sysctls: map[string]string{"kernel.panic": "1"}}, "kernel.panic"},
		{"a sysctl with slashes", Isolation{Sysctls: map[string]string{"kernel/panic": "1"}}, "kernel/panic"},
		{"a sysctl that climbs", Isolation{Sysctls: map[string]string{"net...kernel.panic": "1"}}, "panic"},
		{"a score too low", Isolation{OOMScoreAdj: &low}, "-1001"},
		{"a score too high", Isolation{OOMScoreAdj: &high}, "1001"},
		{"a tmpfs without a place", Isolation{Tmpfs: []string{"run"}}, "run"},
		{"a tmpfs over the root", Isolation{Tmpfs: []string{"/.."}}, "/.."},
		{"an option of a tmpfs", Isolation{Tmpfs: []string{"/run:fast"}}, "fast"},
		{"an option of a tmpfs that is not its", Isolation{Tmpfs: []string{"/run:bind"}}, "bind"},
		{"an option without its value", Isolation{Tmpfs: []string{"/run:size="}}, "size="},
		{"CPU shares", Isolation{CPUShares: 1}, "shares"},
		{"less swap than memory", Isolation{MemorySwap: 99}, "99"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Build(Input{ContainerID: "c", Args: []string{"sh"}, MemoryBytes: 100, Isolation: test.isolation})
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v", err)
			}
		})
	}
}
