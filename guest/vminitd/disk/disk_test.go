package disk

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// say has a disk of the machine in dir answer with a serial.
func say(t *testing.T, dir, name, serial string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name, "serial"), []byte(serial), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADiskIsFoundByTheSerialThatItHasNow(t *testing.T) {
	sys := t.TempDir()
	say(t, sys, "vda", "template0")
	say(t, sys, "vdb", "template1")
	say(t, sys, "sda", "layer")
	disks := open(sys, "/dev")
	say(t, sys, "vda", "rootfs0") // the VM was cloned: the same disks have other serials
	say(t, sys, "vdb", "layer\n")
	say(t, sys, "vdc", "late") // it came after boot
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for serial, want := range map[string]string{"rootfs0": "/dev/vda", "layer": "/dev/vdb", "late": "/dev/vdc", "template0": "", "": "", "a/b": ""} {
		if got, err := disks.Find(gone, serial); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", serial, got, err, want)
		}
	}
}
