package container

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/helper"
)

func TestWhatIsStagedIsUsedIfAllOfItIsAskedForAndNothingElseIsThere(t *testing.T) {
	volume := specs.Mount{Destination: "/data", Type: "bind", Source: "/run/data"}
	tests := map[string]struct {
		edit   func(*helper.Init)
		staged bool
		rest   []specs.Mount
	}{
		"as it is":                 {edit: func(*helper.Init) {}, staged: true},
		"with a volume in between": {edit: func(i *helper.Init) { i.Mounts = slices.Insert(i.Mounts, 3, volume) }, staged: true, rest: []specs.Mount{volume}},
		"one less":                 {edit: func(i *helper.Init) { i.Mounts = i.Mounts[1:] }},
		"with other options":       {edit: func(i *helper.Init) { i.Mounts[0].Options = []string{"ro"} }},
		"another order":            {edit: func(i *helper.Init) { slices.Reverse(i.Mounts) }},
		"with users mapped":        {edit: func(i *helper.Init) { i.Mounts[0].UIDMappings = []specs.LinuxIDMapping{{Size: 1}} }},
		"below it": {edit: func(i *helper.Init) {
			i.Mounts = append(i.Mounts, specs.Mount{Destination: "dev/../proc/./sys", Type: "tmpfs"})
		}},
		"over it":   {edit: func(i *helper.Init) { i.Mounts = append(i.Mounts, specs.Mount{Destination: "/dev/", Type: "tmpfs"}) }},
		"above it":  {edit: func(i *helper.Init) { i.Mounts = append(i.Mounts, specs.Mount{Destination: "//", Type: "tmpfs"}) }},
		"twice":     {edit: func(i *helper.Init) { i.Mounts = append(i.Mounts, i.Mounts[0]) }},
		"a file":    {edit: func(i *helper.Init) { i.Files = []helper.File{{Destination: "/dev/log"}} }},
		"unmasked":  {edit: func(i *helper.Init) { i.MaskedPaths = i.MaskedPaths[1:] }},
		"writable":  {edit: func(i *helper.Init) { i.ReadonlyPaths = nil }},
		"own cards": {edit: func(i *helper.Init) { i.Namespaces |= unix.CLONE_NEWNET }},
		"its name only begins so": {edit: func(i *helper.Init) { i.Mounts = append(i.Mounts, specs.Mount{Destination: "/develop", Type: "tmpfs"}) }, staged: true,
			rest: []specs.Mount{{Destination: "/develop", Type: "tmpfs"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			read := func() *helper.Init {
				spec, err := parseSpec(sampleSpec)
				if err != nil {
					t.Fatal(err)
				}
				return initConfig(spec, unix.CLONE_NEWPID|unix.CLONE_NEWNS|unix.CLONE_NEWIPC|unix.CLONE_NEWCGROUP)
			}
			s, asked, before := &spare{staged: read()}, read(), read()
			test.edit(asked)
			test.edit(before)
			s.unstage(asked)
			if asked.Staged != test.staged {
				t.Fatalf("staged: %v", asked.Staged)
			}
			if !asked.Staged {
				if len(asked.Mounts) != len(before.Mounts) || len(asked.MaskedPaths) != len(before.MaskedPaths) || len(asked.ReadonlyPaths) != len(before.ReadonlyPaths) {
					t.Errorf("something is missing: %+v", asked)
				}
				return
			}
			if !slices.EqualFunc(asked.Mounts, test.rest, sameMount) || len(asked.MaskedPaths)+len(asked.ReadonlyPaths) > 0 {
				t.Errorf("left: %+v", asked)
			}
		})
	}
}
