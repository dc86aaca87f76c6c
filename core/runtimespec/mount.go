package runtimespec

import (
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Mount is a bind mount of the user.
type Mount struct {
	// Source is relative to where the guest keeps the container: "sources/share0".
	Source, Destination string
	ReadOnly            bool
}

// CheckDestination refuses what is no place of a mount, and returns it clean.
func CheckDestination(destination string) (string, error) {
	clean := path.Clean(destination)
	if !path.IsAbs(destination) || clean == "/" || strings.ContainsRune(destination, 0) {
		return "", invalid("mount at", destination, "it is not an absolute path below the root")
	}
	return clean, nil
}

// addMounts adds the user's mounts to those that are usual, in whose place they come. Of two within each other the outer one is mounted first.
func addMounts(spec *specs.Spec, mounts []Mount) error {
	usual := map[string]bool{}
	for _, m := range usualMounts() {
		usual[m.Destination] = true
	}
	for _, m := range mounts {
		at := slices.IndexFunc(spec.Mounts, func(other specs.Mount) bool { return other.Destination == m.Destination })
		if at >= 0 && !usual[m.Destination] {
			return invalid("mount at", m.Destination, "something else is mounted there", "give one mount for it")
		}
		access := "rw"
		if m.ReadOnly {
			access = "ro"
		}
		mount := specs.Mount{Destination: m.Destination, Type: "bind", Source: m.Source, Options: []string{"rbind", access}}
		if at >= 0 {
			spec.Mounts[at] = mount
		} else {
			spec.Mounts = append(spec.Mounts, mount)
		}
	}
	sortMounts(spec.Mounts)
	return nil
}

// sortMounts brings mounts into an order in which none hides one that lies deeper.
func sortMounts(mounts []specs.Mount) {
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
}
