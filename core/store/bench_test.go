package store

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// BenchmarkList reads 1,000 containers, half of them running under one process; "cat" reads the same files and does nothing with them.
func BenchmarkList(b *testing.B) {
	s, err := OpenPaths(Paths{Root: b.TempDir(), Run: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	var ids []string
	for i := range 1000 {
		c := Container{Schema: SchemaVersion, ID: NewID(), Name: fmt.Sprintf("container-%d", i), Created: time.Now(),
			Image: "docker.io/library/debian:bookworm", Platform: "linux/amd64", State: lifecycle.Stopped, BootID: s.BootID(),
			Process: Process{Args: []string{"/bin/sh", "-c", "sleep 100"}, Env: strings.Split(strings.Repeat("NAME=value of some length,", 20), ",")},
			Plugins: map[sdk.Kind]string{sdk.Hypervisor: "qemu-hypervisor"},
			Disks:   []rootfs.Disk{{Path: "/var/lib/vzctl/rootfs/0123456789abcdef0123456789abcdef.img", FileSystem: "ext4"}}}
		c.Sandbox = c.ID
		ids = append(ids, c.ID)
		if err := os.Mkdir(s.paths.Container(c.ID), 0o700); err != nil {
			b.Fatal(err)
		}
		if i%2 == 0 {
			c.State = lifecycle.Running
			if err := os.Mkdir(s.paths.Sandbox(c.ID), 0o700); err != nil {
				b.Fatal(err)
			}
			life, err := lock.Try(s.paths.SandboxLife(c.ID))
			if err != nil {
				b.Fatal(err)
			}
			defer life.Close()
		}
		if err := WriteJSON(s.paths.ContainerRecord(c.ID), c, false); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			if entries, err := s.List(); err != nil || len(entries) != 1000 {
				b.Fatalf("%d entries, %v", len(entries), err)
			}
		}
	})
	b.Run("cat", func(b *testing.B) {
		for b.Loop() {
			for _, id := range ids {
				if _, err := os.ReadFile(s.paths.ContainerRecord(id)); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
