package rehearsal

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func TestDisksByTheirPart(t *testing.T) {
	for name, test := range map[string]struct {
		disks map[string]string // what the kernel says of each: whether it is read-only
		want  disks
		fails bool
	}{
		"an image and a layer": {map[string]string{"vda": "1", "vdb": "0"}, disks{[]string{"disk-vda"}, "disk-vdb", nil, []string{"/dev/vda", "/dev/vdb"}}, false},
		"an image alone":       {map[string]string{"vda": "1"}, disks{[]string{"disk-vda"}, "", nil, []string{"/dev/vda"}}, false},
		"layers, and a volume as well": {
			map[string]string{"vda": "1", "vdb": "1", "vdc": "0", "vdd": "0"},
			disks{[]string{"disk-vda", "disk-vdb"}, "disk-vdc", []string{"disk-vdd"}, []string{"/dev/vda", "/dev/vdb", "/dev/vdc", "/dev/vdd"}}, false,
		},
		"no image": {map[string]string{"vda": "0"}, disks{}, true},
		"no disk":  {nil, disks{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			sys := t.TempDir()
			for _, disk := range slices.Sorted(maps.Keys(test.disks)) {
				dir := filepath.Join(sys, disk)
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				for file, text := range map[string]string{"ro": test.disks[disk] + "\n", "serial": "disk-" + disk} {
					if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			got, err := findDisks(sys)
			if (err != nil) != test.fails || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestADiskThatMayBeSomebodysIsNoPlaceholder(t *testing.T) {
	named := func(name string) []byte { return append(make([]byte, labelAt), name...) }
	padded := func(name string) []byte { return append(named(name), make([]byte, 64)...) }
	for name, test := range map[string]struct {
		disk []byte
		good bool
	}{
		"a placeholder":                    {padded(label), true},
		"another file system":              {padded("vzctl-image"), false},
		"a name that only begins like it":  {padded(label + "s"), false},
		"a disk of zeros":                  {padded(""), false},
		"a disk that ends before the name": {named("")[:100], false},
	} {
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, test.disk, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := isPlaceholder(path); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSharesByTheirTag(t *testing.T) {
	sys := t.TempDir()
	if tags, err := findShares(sys); err != nil || len(tags) > 0 {
		t.Errorf("without a device there are %v, %v", tags, err)
	}
	for name, tag := range map[string]string{"virtio3": "share0\x00", "virtio4": "share1"} {
		dir := filepath.Join(sys, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "mount_tag"), []byte(tag), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if tags, err := findShares(sys); err != nil || !slices.Equal(tags, []string{"share0", "share1"}) {
		t.Errorf("%q, %v", tags, err)
	}
}
