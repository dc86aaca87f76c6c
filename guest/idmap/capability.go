package idmap

import (
	"encoding/binary"
	"slices"
)

// CapabilityAttribute is the extended attribute in which a file's capabilities are. They are good for one root and the namespaces below, which the attribute says if it is not the machine's.
const CapabilityAttribute = "security.capability"

// The kernel's struct vfs_cap_data: a word of revision and flags, words of capabilities, and of revision 3 the user id of a root.
const (
	revision2, revision3, revisionMask = 0x02000000, 0x03000000, 0xff000000
	size2, size3                       = 20, 24
)

// InCapability returns the value of CapabilityAttribute that a file has on the disk which the machine sees with the ids of the namespace. Others than of the namespace's root stay as they are.
func (m *Maps) InCapability(value []byte) []byte {
	if m == nil || len(value) != size3 || binary.LittleEndian.Uint32(value)&revisionMask != revision3 {
		return value
	}
	if inside, mapped := m.UIDs.Inside(binary.LittleEndian.Uint32(value[size2:])); !mapped || inside != 0 {
		return value
	}
	plain := slices.Clone(value[:size2])
	binary.LittleEndian.PutUint32(plain, binary.LittleEndian.Uint32(plain)&^revisionMask|revision2)
	return plain
}

// OutCapability is the other way around.
func (m *Maps) OutCapability(value []byte) []byte {
	if m == nil || len(value) != size2 || binary.LittleEndian.Uint32(value)&revisionMask != revision2 {
		return value
	}
	root, _ := m.Out(0, 0)
	ofRoot := binary.LittleEndian.AppendUint32(slices.Clone(value), uint32(root))
	binary.LittleEndian.PutUint32(ofRoot, binary.LittleEndian.Uint32(ofRoot)&^revisionMask|revision3)
	return ofRoot
}
