package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/volumes"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

func (r *rig) volume(name string) volumes.Store {
	r.t.Helper()
	all := volumes.At(r.store.Paths())
	if _, _, err := all.Ensure(r.t.Context(), volumes.Volume{Name: name}, func(path string) (rootfs.Disk, error) {
		return rootfs.Disk{Path: path, FileSystem: "ext4"}, os.WriteFile(path, nil, 0o600)
	}); err != nil {
		r.t.Fatal(err)
	}
	return all
}

func nobody() ([]string, error) { return nil, nil }

func TestWhatCannotBeMountedFailsTheStartInOneLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		mount store.Mount
		says  string
	}{
		"a source that has gone":             {store.Mount{Type: store.MountBind, Source: filepath.Join(dir, "gone")}, "any more"},
		"a file that is a directory now":     {store.Mount{Type: store.MountBind, Source: dir, File: true}, "was a file"},
		"a directory that is a file now":     {store.Mount{Type: store.MountBind, Source: file}, "was a directory"},
		"a volume that has gone":             {store.Mount{Type: store.MountVolume, Source: "gone"}, "no such volume"},
		"a volume that another writes":       {store.Mount{Type: store.MountVolume, Source: "db"}, "another container is using it"},
		"a volume that another only reads":   {store.Mount{Type: store.MountVolume, Source: "logs"}, "another container is using it"},
		"something of a version that is new": {store.Mount{Type: "nfs", Source: "x"}, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(record *store.Container) {
				c.mount.Destination, c.mount.Device = "/data", "d0"
				record.Mounts = []store.Mount{c.mount}
			})
			for volume, readOnly := range map[string]bool{"db": false, "logs": true} {
				held, err := r.volume(volume).Use(volume, readOnly, nobody)
				if err != nil {
					t.Fatal(err)
				}
				defer held.Close()
			}
			r.serve()
			if err := r.client.Start(r.context()); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v", err)
			}
			if err := r.ended(); err == nil {
				t.Error("the supervisor's log says nothing of it")
			}
			if c := r.record(); c.State != lifecycle.Failed {
				t.Errorf("state %s", c.State)
			}
		})
	}
}

func TestAVolumeIsTheSupervisorsAsLongAsItsMachineRuns(t *testing.T) {
	r := newRig(t, func(c *store.Container) {
		c.AutoRemove = true
		c.Mounts = []store.Mount{{Type: store.MountVolume, Source: "db", Destination: "/data", Device: "volume0"},
			{Type: store.MountVolume, Source: "unnamed", Destination: "/other", Device: "volume1", Anonymous: true},
			{Type: store.MountVolume, Source: "wanted", Destination: "/wanted", Device: "volume2", Anonymous: true}}
	})
	r.volume("wanted")
	other, err := r.store.Create(t.Context(), store.Container{ID: store.NewID(), Name: "other", Created: time.Now(),
		Mounts: []store.Mount{{Type: store.MountVolume, Source: "wanted", Destination: "/x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	all := r.volume("db")
	r.volume("unnamed")
	r.start()
	if _, err := all.Use("db", true, nobody); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("while it runs: %v", err)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	held, err := all.Use("db", false, nobody)
	if err != nil {
		t.Fatalf("after its end: %v", err)
	}
	defer held.Close()
	if _, err := all.Get("unnamed"); !errors.Is(err, fault.NotFound) {
		t.Errorf("what was made for it alone: %v", err)
	}
	if _, err := all.Get("wanted"); err != nil {
		t.Errorf("what another container, which does not run, has: %v", err)
	}
}
