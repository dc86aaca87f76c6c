package helper

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/idmap"
)

// ownNamespaces are those of a container that shares nothing but the machine's network.
const ownNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

func TestVminitdMakesWhatAHelperInAUserNamespaceMayNot(t *testing.T) {
	for _, test := range []struct {
		name       string
		mount      specs.Mount
		namespaces int
		handed     bool
	}{
		{"a bind mount", specs.Mount{Destination: "/data", Type: "bind", Source: "/run/data"}, ownNamespaces, true},
		{"a bind mount by its option", specs.Mount{Destination: "/data", Type: "none", Options: []string{"ro", "rbind"}}, ownNamespaces, true},
		{"the directory of devices", specs.Mount{Destination: "/dev/", Type: "tmpfs"}, ownNamespaces, true},
		{"another directory in memory", specs.Mount{Destination: "/dev/shm", Type: "tmpfs"}, ownNamespaces, false},
		{"processes", specs.Mount{Destination: "/proc", Type: "proc"}, ownNamespaces, false},
		{"terminals", specs.Mount{Destination: "/dev/pts", Type: "devpts"}, ownNamespaces, false},
		{"the machine's network", specs.Mount{Destination: "/sys", Type: "sysfs"}, ownNamespaces, true},
		{"a network of its own", specs.Mount{Destination: "/sys", Type: "sysfs"}, ownNamespaces | unix.CLONE_NEWNET, false},
		{"message queues of its own", specs.Mount{Destination: "/dev/mqueue", Type: "mqueue"}, ownNamespaces, false},
		{"the machine's message queues", specs.Mount{Destination: "/dev/mqueue", Type: "mqueue"}, ownNamespaces &^ unix.CLONE_NEWIPC, true},
		{"cgroups of its own", specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup"}, ownNamespaces, false},
		{"the machine's cgroups", specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup2"}, ownNamespaces &^ unix.CLONE_NEWCGROUP, true},
	} {
		i := &Init{Namespaces: test.namespaces, Mounts: []specs.Mount{test.mount}, Files: []File{{}, {}}}
		if got := i.isHanded(test.mount); got != test.handed {
			t.Errorf("%s: handed %v", test.name, got)
		}
		want := 3 // the root and the files
		if test.handed {
			want++
		}
		if got := (&Config{Init: i, IDs: &idmap.Maps{}}).handed(); got != want {
			t.Errorf("%s: %d descriptors, want %d", test.name, got, want)
		}
		if got := (&Config{Init: i}).handed(); got != 0 {
			t.Errorf("%s: %d descriptors without a user namespace", test.name, got)
		}
	}
}

func TestARootThatCannotBeInAUserNamespaceIsRefused(t *testing.T) {
	devices := specs.Mount{Destination: "/dev", Type: "tmpfs"}
	var many []specs.Mount
	for range MaxDescriptors - 3 - 2 { // the streams, the root and the devices
		many = append(many, specs.Mount{Destination: "/data", Type: "bind"})
	}
	for _, test := range []struct {
		name string
		Init
		says string
	}{
		{"a usual one", Init{Mounts: []specs.Mount{devices}, Devices: []specs.LinuxDevice{{Path: "/dev/fuse"}, {Path: "/dev/../dev/net/tun"}}}, ""},
		{"devices of the image", Init{}, "/dev"},
		{"devices of somebody else", Init{Mounts: []specs.Mount{{Destination: "/dev", Type: "bind"}}}, "/dev"},
		{"a device elsewhere", Init{Mounts: []specs.Mount{devices}, Devices: []specs.LinuxDevice{{Path: "/dev/../fuse"}}}, "fuse"},
		{"the directory of devices as a device", Init{Mounts: []specs.Mount{devices}, Devices: []specs.LinuxDevice{{Path: "/dev"}}}, "below"},
		{"as many mounts as can be", Init{Mounts: append(slices.Clip(many), devices)}, ""},
		{"one more", Init{Mounts: append(slices.Clip(many), devices), Files: []File{{}}}, "too many"},
	} {
		err := test.CheckHanded()
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
}

func TestSettingsAreMadeByWhoMay(t *testing.T) {
	sysctl := map[string]string{"net.core.somaxconn": "1", "kernel.msgmax": "2", "fs.mqueue.msg_max": "3"}
	outside, inside := (&Init{Namespaces: ownNamespaces, Sysctl: sysctl}).SplitSysctls()
	if len(outside) != 1 || outside["net.core.somaxconn"] != "1" || len(inside) != 2 {
		t.Errorf("outside %v, inside %v", outside, inside)
	}
	outside, inside = (&Init{Namespaces: ownNamespaces &^ unix.CLONE_NEWIPC, Sysctl: sysctl}).SplitSysctls()
	if len(outside) != 3 || len(inside) != 0 {
		t.Errorf("of the machine's namespace: outside %v, inside %v", outside, inside)
	}
}

func TestOwnersOfAFileSystemAreTheMachines(t *testing.T) {
	ids := &idmap.Maps{UIDs: idmap.Map{{HostID: 100000, Size: 10}}, GIDs: idmap.Map{{HostID: 200000, Size: 10}}}
	got, err := outsideOwners([]string{"mode=755", "uid=3", "size=64k", "gid=4", "ro"}, ids)
	if want := []string{"mode=755", "uid=100003", "size=64k", "gid=200004", "ro"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for _, word := range []string{"uid=x", "uid=10", "gid=4294967296", "gid="} {
		if _, err := outsideOwners([]string{word}, ids); err == nil {
			t.Errorf("%q is taken", word)
		}
	}
}
