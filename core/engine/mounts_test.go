package engine

import (
	"testing"

	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

func TestByWhatADirectoryOfTheHostIsShared(t *testing.T) {
	for _, c := range []struct {
		name, asked, ownership, configured string
		offered                            []string
		want                               string
	}{
		{"nothing is said", "", hypervisor.OwnershipHost, "", []string{"9p", "virtiofs"}, "9p"},
		{"nothing is said, and there is one way", "", hypervisor.OwnershipHost, "", []string{"virtiofs"}, "virtiofs"},
		{"nothing is said, and there is none, which is refused later", "", hypervisor.OwnershipHost, "", nil, "9p"},
		{"the mount says it", "virtiofs", hypervisor.OwnershipHost, "9p", []string{"9p", "virtiofs"}, "virtiofs"},
		{"the mount says what is not offered, which is refused later", "virtiofs", hypervisor.OwnershipHost, "", []string{"9p"}, "virtiofs"},
		{"the configuration says it", "", hypervisor.OwnershipHost, "virtiofs", []string{"9p", "virtiofs"}, "virtiofs"},
		{"the mount says what goes by 9p alone", "", hypervisor.OwnershipMapped, "virtiofs", []string{"9p", "virtiofs"}, "9p"},
	} {
		mounts := []store.Mount{{Type: store.MountVolume}, {Type: store.MountBind, Transport: c.asked, Ownership: c.ownership}}
		fillTransports(mounts, c.configured, sdk.Info{Capabilities: map[string][]string{hypervisor.CapabilityShare: c.offered}})
		if mounts[0].Transport != "" || mounts[1].Transport != c.want {
			t.Errorf("%s: by %q, want %q; and a volume by %q", c.name, mounts[1].Transport, c.want, mounts[0].Transport)
		}
	}
}
