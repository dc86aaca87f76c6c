package registry_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/oci-registry/registry"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
)

func TestRegistryPullToAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m,mode=700"); err != nil {
		t.Skipf("needs to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	image := two(t)
	_, err := registry.Source{}.Pull(t.Context(), imagesource.PullRequest{Reference: imagetest.Serve(t, image).Host + "/x", Platforms: amd64, LayoutPath: dir}, nil)
	check(t, err, fault.NoSpace, "no space left on the disk; free some space")
	for _, name := range imagetest.Files(t, dir) {
		if !strings.HasSuffix(name, image.Layers[0].Digest.Encoded()) {
			t.Errorf("left behind: %s", name)
		}
	}
}
