package guest

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vzctl/vzctl/core/runtimespec"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/placeholder"
)

// TestTheSpecOfTheRehearsalIsTheCores says what guest/vminitd/rehearsal/spec.json is. With VZCTL_UPDATE=1 it writes it.
func TestTheSpecOfTheRehearsalIsTheCores(t *testing.T) {
	spec, err := runtimespec.Build(runtimespec.Input{ContainerID: "rehearsal", Args: []string{"/bin/true"}, Env: []string{"PATH=" + runtimespec.DefaultPath}, WorkingDir: "/",
		Hostname: "rehearsal", CPUs: 1, MemoryBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(repository(t), "guest/vminitd/rehearsal/spec.json")
	if os.Getenv("VZCTL_UPDATE") != "" {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %v; it is to be\n%s", path, err, want)
	}
}

// TestWhatIsStagedIsWhatContainersWithoutOptionsHave says what the mounts and paths of guest/vminitd/container/sample.json are.
func TestWhatIsStagedIsWhatContainersWithoutOptionsHave(t *testing.T) {
	want, err := runtimespec.Build(runtimespec.Input{ContainerID: "sample", Args: []string{"true"}, WorkingDir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(repository(t), "guest/vminitd/container/sample.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got specs.Spec
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Mounts, want.Mounts) || !slices.Equal(got.Linux.MaskedPaths, want.Linux.MaskedPaths) || !slices.Equal(got.Linux.ReadonlyPaths, want.Linux.ReadonlyPaths) {
		t.Errorf("they are to be %+v, %q, %q", want.Mounts, want.Linux.MaskedPaths, want.Linux.ReadonlyPaths)
	}
}

// placeholders are disks of a machine that rehearses.
func placeholders(t *testing.T) (disks []Disk) {
	t.Helper()
	for i, serial := range []string{"rootfs0", "layer", "volume0"} {
		file := create(t)
		readOnly := i == 0
		if err := errors.Join(file.Truncate(256<<20), placeholder.Write(t.Context(), file, "amd64", readOnly), file.Close()); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, Disk{Serial: serial, Path: file.Name(), ReadOnly: readOnly})
	}
	return disks
}

// replace puts another's content behind a disk, in place.
func replace(t *testing.T, disk, by Disk) {
	t.Helper()
	from, err := os.Open(by.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	file, err := os.OpenFile(disk.Path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, from)
	if err := errors.Join(err, file.Truncate(256<<20), file.Close()); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, disk Disk) []byte {
	t.Helper()
	all, err := os.ReadFile(disk.Path)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// damage makes no programs of those on a disk.
func damage(t *testing.T, disk Disk) {
	t.Helper()
	if err := os.WriteFile(disk.Path, bytes.ReplaceAll(content(t, disk), []byte(elf.ELFMAG), []byte("none")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// remains prints what a rehearsal could leave in a machine, which is bound to /machine, once the kernel has noticed that the link is up and has made its address. Whether it has
// asked others for that yet is chance.
const remains = `until ip -6 addr show eth0 | grep -q fe80; do sleep 0.05; done
ip -o link; ip -o addr | sed 's/ tentative//'; ip route; ip -6 route; cat /proc/net/arp
cd /machine; cut -d' ' -f1-4 proc/1/mounts; find sys/fs/cgroup -type d; cat sys/fs/cgroup/cgroup.stat; find dev run tmp root etc -maxdepth 4 2>/dev/null | sort
for p in proc/[0-9]*; do cat $p/cmdline; done >/tmp/p 2>/dev/null; tr -s '\0' ' ' </tmp/p; for f in proc/1/fd/*; do readlink $f | sed 's/:.*//'; done | sort | uniq -c
for f in tcp tcp6 udp udp6 raw raw6 unix netlink packet; do echo $f $(tail -n +2 proc/1/net/$f | wc -l); done
find sys/fs/ext4 -maxdepth 1; for f in proc/sys/net/ipv[46]/conf/eth0/*; do echo $f $(cat $f 2>&1); done`

// look has a container of its own say what is in the machine.
func look(t *testing.T, vm *VM) []string {
	t.Helper()
	g := Connect(t, vm)
	listed, err := g.ListContainers(t.Context(), &guestv1.ListContainersRequest{})
	if err != nil || len(listed.Containers) > 0 {
		t.Errorf("there are containers %v, %v", listed, err)
	}
	_, err = g.Adopt(t.Context(), &guestv1.AdoptRequest{Entropy: make([]byte, 64), Time: timestamppb.Now(), Hostname: "machine", Interfaces: []*guestv1.Interface{
		{Mac: "02:00:00:00:00:07", Addresses: []string{"198.51.100.7/24"}, Routes: []*guestv1.Route{{Destination: "0.0.0.0/0", Gateway: "198.51.100.1"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	c := script(remains)
	c.ID, c.Env = "c", []string{"PATH=/bin"}
	c.Edit = func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/machine", Type: "bind", Source: "/", Options: []string{"rbind", "ro"}})
	}
	result, err := g.Run(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(result.Stdout+result.Stderr, "\n")
}

// TestVMAFullRehearsalLeavesNothing compares what is in machines that have rehearsed with what is in one that has not. Other disks are put behind the placeholders
// in between, so they also show whether a guest remembers what it has read of those.
func TestVMAFullRehearsalLeavesNothing(t *testing.T) {
	image, layer := Image(t), Layer(t)
	shared := t.TempDir()
	devices := []string{"-netdev", "hubport,id=n0,hubid=0", "-device", "virtio-net-device,netdev=n0",
		"-fsdev", "local,id=share0,path=" + shared + ",security_model=none", "-device", "virtio-9p-device,fsdev=share0,mount_tag=share0"}
	without := look(t, Boot(t, Options{Disks: []Disk{image.Named("rootfs0"), Layer(t).Named("layer"), Layer(t).Named("volume0")}, Arguments: devices}))
	for _, test := range []struct {
		name string
		edit func(disks []Disk)
		says string // the console
	}{
		{"a rehearsal", func([]Disk) {}, ""},
		{"one that fails when a process is to start", func(disks []Disk) { damage(t, disks[0]) }, "vminitd: rehearse in full: "},
		{"none where a disk is somebody's", func(disks []Disk) { replace(t, disks[1], Layer(t)) }, "vminitd: rehearse in full: look at /dev/vdb: it is no disk to rehearse with"},
	} {
		t.Run(test.name, func(t *testing.T) {
			disks := placeholders(t)
			test.edit(disks)
			before := content(t, disks[1])
			vm := Boot(t, Options{Disks: disks, Arguments: devices, Words: "vzctl.rehearse=full"})
			if said := vm.Console(); !strings.Contains(said, test.says) || test.says == "" && strings.Contains(said, "vminitd") {
				t.Errorf("the guest says %q, want %q", said, test.says)
			}
			if strings.Contains(test.says, "/dev/vdb") && !bytes.Equal(content(t, disks[1]), before) {
				t.Error("somebody's disk was written to")
			}
			if left, err := os.ReadDir(shared); err != nil || len(left) > 0 {
				t.Errorf("in the directory of the host are %v, %v", left, err)
			}
			replace(t, disks[0], image)
			replace(t, disks[1], layer)
			got := look(t, vm)
			for _, line := range got {
				if !slices.Contains(without, line) {
					t.Errorf("only after it: %s", line)
				}
			}
			for _, line := range without {
				if !slices.Contains(got, line) {
					t.Errorf("only without it: %s", line)
				}
			}
		})
	}
}
