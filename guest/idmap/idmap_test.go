package idmap

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func line(container, vm, size uint32) specs.LinuxIDMapping {
	return specs.LinuxIDMapping{ContainerID: container, HostID: vm, Size: size}
}

func TestWhatIsNoMapIsRefused(t *testing.T) {
	var most, long Map
	for i := range uint32(maxLines + 1) {
		most = append(most, line(i, i, 1))
		long = append(long, line(i*10_000_000, i*10_000_000, 1_000_000))
	}
	for _, test := range []struct {
		name string
		Map
		says string // "" : it is a map
	}{
		{"all ids", Map{line(0, 0, maxIDs)}, ""},
		{"some ids", Map{line(0, 100000, 65536)}, ""},
		{"several ranges in any order", Map{line(1, 100000, 1000), line(0, 1000, 1), line(1001, 200000, 5)}, ""},
		{"as many lines as can be", most[:maxLines], ""},
		{"nothing", nil, "empty"},
		{"one line too many", most, "341 lines"},
		{"more text than the kernel takes", long[:maxLines], "longer than"},
		{"a range of nothing", Map{line(0, 100000, 0)}, "0:100000:0"},
		{"ids of the container twice", Map{line(0, 100000, 10), line(9, 200000, 1)}, "0:100000:10 and 9:200000:1"},
		{"ids of the VM twice", Map{line(0, 100000, 10), line(10, 100009, 1)}, "in common"},
		{"nobody's files for somebody", Map{line(0, 60000, 10000)}, "nobody's"},
		{"nobody's files for nobody", Map{line(0, 0, 65536)}, ""},
		{"beyond the last id of the container", Map{line(0, 5, 1), line(maxIDs-1, 100000, 2)}, "beyond"},
		{"beyond the last id of the VM", Map{line(0, maxIDs-1, 2)}, "beyond"},
		{"the id that is nobody's", Map{line(0, 0, 1), line(maxIDs, 7, 1)}, "beyond"},
		{"without root", Map{line(1, 100000, 10)}, "root"},
	} {
		t.Run(test.name, func(t *testing.T) {
			good := Map{line(0, 0, 1)}
			_, users := New(test.Map, good)
			_, groups := New(good, test.Map)
			for kind, err := range map[string]error{"user": users, "group": groups} {
				switch {
				case test.says == "" && err != nil:
					t.Error(err)
				case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), kind) || strings.Contains(err.Error(), "\n")):
					t.Errorf("error %v; want one line about %s, with %q", err, kind, test.says)
				}
			}
		})
	}
}

func TestIdsGoThereAndBack(t *testing.T) {
	maps, err := New(Map{line(0, 1000, 1), line(1, 100000, 999)}, Map{line(0, 5000, 10)})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ inUID, inGID, outUID, outGID int }{{0, 0, 1000, 5000}, {1, 9, 100000, 5009}, {999, 3, 100998, 5003}, {-1, -1, -1, -1}} {
		if uid, gid := maps.Out(test.inUID, test.inGID); uid != test.outUID || gid != test.outGID {
			t.Errorf("%d:%d is %d:%d outside, want %d:%d", test.inUID, test.inGID, uid, gid, test.outUID, test.outGID)
		}
		if uid, gid := maps.In(test.outUID, test.outGID); uid != test.inUID || gid != test.inGID {
			t.Errorf("%d:%d is %d:%d inside, want %d:%d", test.outUID, test.outGID, uid, gid, test.inUID, test.inGID)
		}
	}
	if uid, gid := maps.In(0, 0); uid != Overflow || gid != Overflow {
		t.Errorf("the VM's root is %d:%d", uid, gid)
	}
	if uid, gid := maps.Out(5000, 1<<40); uid != 1000 || gid != 5000 {
		t.Errorf("who is nobody's is %d:%d outside, want root", uid, gid)
	}
	if uid, gid := (&Maps{Map{line(0, 100000, 65536)}, Map{line(0, 100000, 65536)}}).Out(70000, 1<<32); uid != 165534 || gid != 165534 {
		t.Errorf("who is nobody's is %d:%d outside, want nobody of the container", uid, gid)
	}
	if uid, gid := (*Maps)(nil).Out(5, 6); uid != 5 || gid != 6 {
		t.Errorf("without a map 5:6 is %d:%d", uid, gid)
	}
}

func TestWhoIsNotInTheMapsIsNamed(t *testing.T) {
	maps := &Maps{Map{line(0, 100000, 10)}, Map{line(0, 100000, 5)}}
	for _, test := range []struct {
		name string
		maps *Maps
		uid  int
		gids []int
		says string
	}{
		{"a user who is", maps, 9, []int{4, 0}, ""},
		{"a user who is not", maps, 10, nil, "user id 10"},
		{"a group that is not", maps, 0, []int{0, 5}, "group id 5"},
		{"anybody, without maps", nil, 1 << 30, []int{1 << 30}, ""},
	} {
		err := test.maps.Check(test.uid, test.gids...)
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
}
