// Package idmap has the maps of a user namespace: which user and group of a container is which of its VM. The host checks what was asked for, and the guest what it is told.
package idmap

import (
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Map is of users, or of groups: ranges in any order, HostID being the VM's.
type Map []specs.LinuxIDMapping

// Maps are those of one namespace.
type Maps struct{ UIDs, GIDs Map }

const (
	maxLines = 340  // the kernel's UID_GID_MAP_MAX_EXTENTS
	maxText  = 4095 // in bytes: the kernel takes less than a page
	// The last number is none of anybody, as chown(2) has a meaning for it.
	maxIDs = 1<<32 - 1
)

// New makes the maps of a namespace, or says what is wrong with them. Root must be in both: all that is made for a container is root's.
func New(uids, gids []specs.LinuxIDMapping) (*Maps, error) {
	for _, m := range []struct {
		kind string
		Map
	}{{"user", uids}, {"group", gids}} {
		if err := m.check(); err != nil {
			return nil, fmt.Errorf("map of %s ids: %w", m.kind, err)
		}
	}
	return &Maps{uids, gids}, nil
}

func (m Map) check() error {
	if len(m) == 0 {
		return errors.New("it is empty")
	}
	if len(m) > maxLines {
		return fmt.Errorf("it has %d lines; there may be %d", len(m), maxLines)
	}
	for i, r := range m {
		switch {
		case r.Size == 0:
			return fmt.Errorf("%s has no ids", text(r))
		case uint64(r.ContainerID)+uint64(r.Size) > maxIDs, uint64(r.HostID)+uint64(r.Size) > maxIDs:
			return fmt.Errorf("%s ends beyond the last id, %d", text(r), uint32(maxIDs-1))
		case nobodys(r):
			return fmt.Errorf("%s has id %d of the VM, as which files look there whose owner is nobody's, for another of the container", text(r), Overflow)
		}
		for _, other := range m[:i] {
			if meet(r.ContainerID, other.ContainerID, r.Size, other.Size) || meet(r.HostID, other.HostID, r.Size, other.Size) {
				return fmt.Errorf("%s and %s have ids in common", text(other), text(r))
			}
		}
	}
	if _, mapped := m.Outside(0); !mapped {
		return errors.New("root, id 0 of the container, is not in it")
	}
	if len(m.Text()) > maxText {
		return fmt.Errorf("it is longer than the %d bytes that the kernel takes", maxText)
	}
	return nil
}

// nobodys reports whether a range makes somebody of nobody.
func nobodys(r specs.LinuxIDMapping) bool {
	return r.HostID <= Overflow && Overflow-r.HostID < r.Size && r.HostID != r.ContainerID
}

// meet reports whether two ranges have something in common.
func meet(a, b, sizeA, sizeB uint32) bool {
	return uint64(a) < uint64(b)+uint64(sizeB) && uint64(b) < uint64(a)+uint64(sizeA)
}

func text(r specs.LinuxIDMapping) string {
	return fmt.Sprintf("%d:%d:%d", r.ContainerID, r.HostID, r.Size)
}

// Text is the map as the kernel reads it.
func (m Map) Text() (all string) {
	for _, r := range m {
		all += fmt.Sprintf("%d %d %d\n", r.ContainerID, r.HostID, r.Size)
	}
	return all
}

// Outside returns which id of the VM one of the container is.
func (m Map) Outside(id uint32) (outside uint32, mapped bool) {
	for _, r := range m {
		if id >= r.ContainerID && id-r.ContainerID < r.Size {
			return r.HostID + id - r.ContainerID, true
		}
	}
	return 0, false
}

// Inside returns which id of the container one of the VM is.
func (m Map) Inside(id uint32) (inside uint32, mapped bool) {
	for _, r := range m {
		if id >= r.HostID && id-r.HostID < r.Size {
			return r.ContainerID + id - r.HostID, true
		}
	}
	return 0, false
}

// Overflow is how the kernel shows an id that is not mapped, unless a setting says otherwise: nobody's.
const Overflow = 65534

// Out is Outside for both of a file. An id that is not mapped is the container's nobody, or its root if that is not mapped either; nil maps nothing to something else.
func (m *Maps) Out(uid, gid int) (int, int) {
	return m.both(uid, gid, func(of Map, id int) int {
		for _, id := range []int{id, Overflow, 0} {
			if outside, mapped := of.Outside(uint32(id)); mapped && id <= maxIDs {
				return int(outside)
			}
		}
		return Overflow // New takes no such map
	})
}

// In is Inside for both of a file. An id that is not mapped is nobody's; nil maps nothing to something else.
func (m *Maps) In(uid, gid int) (int, int) {
	return m.both(uid, gid, func(of Map, id int) int {
		if inside, mapped := of.Inside(uint32(id)); mapped && id <= maxIDs {
			return int(inside)
		}
		return Overflow
	})
}

func (m *Maps) both(uid, gid int, how func(of Map, id int) int) (int, int) {
	if m == nil {
		return uid, gid
	}
	one := func(of Map, id int) int {
		if id < 0 {
			return id // which leaves an owner as it is
		}
		return how(of, id)
	}
	return one(m.UIDs, uid), one(m.GIDs, gid)
}

// Check says that a user or a group is not in the maps. Nil has all.
func (m *Maps) Check(uid int, gids ...int) error {
	if m == nil {
		return nil
	}
	if _, mapped := m.UIDs.Outside(uint32(uid)); !mapped {
		return fmt.Errorf("user id %d is not in the map of the container's user namespace", uid)
	}
	for _, gid := range gids {
		if _, mapped := m.GIDs.Outside(uint32(gid)); !mapped {
			return fmt.Errorf("group id %d is not in the map of the container's user namespace", gid)
		}
	}
	return nil
}
