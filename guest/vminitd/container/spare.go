package container

import (
	_ "embed"
	"errors"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/cgroup"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/launch"
)

// spare is what every container needs and can be made before it is known which comes: its cgroup, and in it the process that becomes its first. In a VM
// that was cloned it was made in the template; under emulation that saves a third of a container's start.
type spare struct {
	group  *cgroup.Group
	helper *launch.Helper
	staged *helper.Init // whose mounts, masks and protected paths the helper has staged
}

// spareID is the name of the cgroup. No container can be called so.
const spareID = ".spare"

func newSpare(r *Runtime) (s *spare, err error) {
	s = &spare{}
	if s.group, err = cgroup.Create(spareID); err != nil {
		return nil, err
	}
	err = s.group.Prepare()
	if err == nil {
		s.helper, err = launch.New(r.reaper, s.group.Directory(), nil)
	}
	if err == nil {
		err = s.rehearse(r)
	}
	if err == nil {
		return s, nil
	}
	if s.helper != nil {
		s.helper.Discard()
	}
	return nil, errors.Join(err, s.group.Remove())
}

// rehearse goes through the reading of a spec, here and in the helper.
func (s *spare) rehearse(r *Runtime) error {
	spec, err := parseSpec(sampleSpec)
	if err != nil {
		return err
	}
	flags, err := namespaces(spec.Linux.Namespaces)
	if err != nil {
		return err
	}
	filters, err := r.filters(spec.Linux.Seccomp, nil)
	if err != nil {
		return err
	}
	s.staged = initConfig(spec, flags)
	return s.helper.Rehearse(helper.Config{Init: s.staged, Process: spec.Process, User: "root", Filters: filters})
}

// helperFor returns the helper if a container with such namespaces can have it: those that it has made are not undone.
func (s *spare) helperFor(namespaces int) *launch.Helper {
	if namespaces&helper.StagedNamespaces == helper.StagedNamespaces && namespaces&unix.CLONE_NEWUSER == 0 {
		return s.helper
	}
	s.helper.Discard()
	return nil
}

// unstage takes away what the helper has staged of what it is to make, if all of it is asked for and nothing else goes below it; otherwise all is made anew.
func (s *spare) unstage(init *helper.Init) {
	if init.Namespaces&unix.CLONE_NEWNET != 0 || // of which /sys would be
		!slices.Equal(init.MaskedPaths, s.staged.MaskedPaths) || !slices.Equal(init.ReadonlyPaths, s.staged.ReadonlyPaths) {
		return
	}
	var rest []specs.Mount
	next := 0
	for _, m := range init.Mounts {
		switch {
		case next < len(s.staged.Mounts) && sameMount(m, s.staged.Mounts[next]):
			next++
		case s.reaches(m.Destination):
			return
		default:
			rest = append(rest, m)
		}
	}
	if next < len(s.staged.Mounts) || slices.ContainsFunc(init.Files, func(f helper.File) bool { return s.reaches(f.Destination) }) {
		return
	}
	init.Staged, init.Mounts, init.MaskedPaths, init.ReadonlyPaths = true, rest, nil, nil
}

// reaches reports whether a path is at, above or below what is staged.
func (s *spare) reaches(destination string) bool {
	destination = path.Join("/", destination)
	return destination == "/" || slices.ContainsFunc(s.staged.Mounts, func(m specs.Mount) bool {
		return destination == m.Destination || strings.HasPrefix(destination, m.Destination+"/")
	})
}

func sameMount(a, b specs.Mount) bool {
	return a.Destination == b.Destination && a.Type == b.Type && a.Source == b.Source && slices.Equal(a.Options, b.Options) && len(a.UIDMappings)+len(a.GIDMappings) == 0
}

// sampleSpec has every kind of thing that a container's spec mostly has; its mounts and paths are those of all containers without options, which are made in advance.
//
//go:embed sample.json
var sampleSpec []byte
