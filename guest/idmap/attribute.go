package idmap

import (
	"encoding/binary"
	"slices"
)

// MaxValue is how long a value is that is read of an extended attribute, in bytes: all there can be but for a list of who may that long. Linux 6.1 takes the room for the value's length, and maps the ids only if that can be the length
// of such a list.
const MaxValue = 64<<10 - 4

// Extended attributes of files that have ids in them.
const (
	// capabilities are good for one root and the namespaces below, which the attribute says if it is not the machine's.
	capabilities = "security.capability"
	accessACL    = "system.posix_acl_access"
	defaultACL   = "system.posix_acl_default"
)

// InAttribute returns the value that an extended attribute has on the disk, of one which the machine sees with the ids of the namespace. What is not understood stays as it is.
func (m *Maps) InAttribute(name string, value []byte) []byte {
	switch {
	case m == nil:
	case name == capabilities:
		return m.inCapability(value)
	case name == accessACL, name == defaultACL:
		return mapACL(value, Map.Inside, m)
	}
	return value
}

// OutAttribute is the other way around.
func (m *Maps) OutAttribute(name string, value []byte) []byte {
	switch {
	case m == nil:
	case name == capabilities:
		return m.outCapability(value)
	case name == accessACL, name == defaultACL:
		return mapACL(value, Map.Outside, m)
	}
	return value
}

// The kernel's struct vfs_cap_data: a word of revision and flags, words of capabilities, and of revision 3 the user id of a root.
const (
	revision2, revision3, revisionMask = 0x02000000, 0x03000000, 0xff000000
	size2, size3                       = 20, 24
)

func (m *Maps) inCapability(value []byte) []byte {
	if len(value) != size3 || binary.LittleEndian.Uint32(value)&revisionMask != revision3 {
		return value
	}
	if inside, mapped := m.UIDs.Inside(binary.LittleEndian.Uint32(value[size2:])); !mapped || inside != 0 {
		return value
	}
	plain := slices.Clone(value[:size2])
	binary.LittleEndian.PutUint32(plain, binary.LittleEndian.Uint32(plain)&^revisionMask|revision2)
	return plain
}

func (m *Maps) outCapability(value []byte) []byte {
	if len(value) != size2 || binary.LittleEndian.Uint32(value)&revisionMask != revision2 {
		return value
	}
	root, _ := m.Out(0, 0)
	ofRoot := binary.LittleEndian.AppendUint32(slices.Clone(value), uint32(root))
	binary.LittleEndian.PutUint32(ofRoot, binary.LittleEndian.Uint32(ofRoot)&^revisionMask|revision3)
	return ofRoot
}

// The kernel's struct posix_acl_xattr_header, a word of version, and entries: a tag, permissions, and the id of a user or a group.
const (
	aclVersion                 = 2
	aclHeader, aclEntry, aclID = 4, 8, 4
	aclUser, aclGroup          = 0x02, 0x08
)

// mapACL maps the ids that are mapped.
func mapACL(value []byte, how func(m Map, id uint32) (uint32, bool), m *Maps) []byte {
	if len(value) < aclHeader || (len(value)-aclHeader)%aclEntry != 0 || binary.LittleEndian.Uint32(value) != aclVersion {
		return value
	}
	mapped := slices.Clone(value)
	for entry := mapped[aclHeader:]; len(entry) > 0; entry = entry[aclEntry:] {
		of := map[uint16]Map{aclUser: m.UIDs, aclGroup: m.GIDs}[binary.LittleEndian.Uint16(entry)]
		if id, known := how(of, binary.LittleEndian.Uint32(entry[aclID:])); known {
			binary.LittleEndian.PutUint32(entry[aclID:], id)
		}
	}
	return mapped
}
