package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
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

// rehearsing boots a machine that rehearses, with placeholders for its disks and a card, and puts the disks behind them once it waits for its host.
func rehearsing(t *testing.T, image, layer Disk, o Options) *VM {
	t.Helper()
	o.Words += " vzctl.rehearse=full "
	for i, readOnly := range []bool{true, false} {
		file := create(t)
		if err := errors.Join(file.Truncate(256<<20), placeholder.Write(t.Context(), file, "amd64", readOnly), file.Close()); err != nil {
			t.Fatal(err)
		}
		o.Disks = append(o.Disks, Disk{Serial: []string{"rootfs0", "layer"}[i], Path: file.Name(), ReadOnly: readOnly})
	}
	vm := Boot(t, o)
	replace(t, o.Disks[0], image)
	replace(t, o.Disks[1], layer)
	return vm
}

// replace puts another's content behind a disk, in place.
func replace(t *testing.T, disk, by Disk) {
	t.Helper()
	content, err := os.Open(by.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	file, err := os.OpenFile(disk.Path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, content)
	if err := errors.Join(err, file.Truncate(256<<20), file.Close()); err != nil {
		t.Fatal(err)
	}
}

var card = []string{"-netdev", "hubport,id=n0,hubid=0", "-device", "virtio-net-device,netdev=n0"}

// remains prints what a rehearsal could leave in a machine, which is bound to /machine.
const remains = `ip -o link; ip -o addr; ip route; ip -6 route; cat /proc/net/arp
cd /machine; cut -d' ' -f1-4 proc/1/mounts; find sys/fs/cgroup -type d; cat sys/fs/cgroup/cgroup.stat; find dev run tmp root etc -maxdepth 4 2>/dev/null | sort
for p in proc/[0-9]*; do tr '\0' ' ' <$p/cmdline; done | tr -s ' '; for f in proc/1/fd/*; do readlink $f | sed 's/:.*//'; done | sort | uniq -c
for f in tcp tcp6 udp udp6 raw raw6 unix netlink packet; do echo $f $(tail -n +2 proc/1/net/$f | wc -l); done
find sys/fs/ext4 -maxdepth 1; for f in proc/sys/net/ipv[46]/conf/eth0/*; do echo $f $(cat $f 2>&1); done`

func TestVMAFullRehearsalLeavesNothing(t *testing.T) {
	look := func(vm *VM) []string {
		g := Connect(t, vm)
		_, err := g.Adopt(t.Context(), &guestv1.AdoptRequest{Entropy: make([]byte, 64), Time: timestamppb.Now(), Hostname: "machine", Interfaces: []*guestv1.Interface{
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
	image, layer := Image(t), Layer(t)
	rehearsed := rehearsing(t, image, layer, Options{Arguments: card})
	if said := rehearsed.Console(); strings.Contains(said, "rehears") {
		t.Fatalf("the guest says %q", said)
	}
	without := Boot(t, Options{Disks: []Disk{image.Named("rootfs0"), layer.Named("layer")}, Arguments: card})
	t.Logf("boot %v, with rehearsal %v", without.Ready.Sub(without.Started), rehearsed.Ready.Sub(rehearsed.Started))
	got, want := look(rehearsed), look(without)
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("only after a rehearsal: %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("only without: %s", line)
		}
	}

}
