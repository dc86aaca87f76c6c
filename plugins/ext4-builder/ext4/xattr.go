package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

const (
	xattrMagic       = 0xEA020000
	xattrEntrySize   = 16
	xattrBlockHeader = 32
	maxXattrName     = 255

	xattrACLAccess  = "system.posix_acl_access"
	xattrACLDefault = "system.posix_acl_default"
)

// xattrPrefixes are the name spaces, by the number that stands for them on disk.
// Longer prefixes come before those they start with.
var xattrPrefixes = []struct {
	index  uint8
	prefix string
}{
	{2, xattrACLAccess},
	{3, xattrACLDefault},
	{1, "user."},
	{4, "trusted."},
	{6, "security."},
}

// xattr is an attribute in its on-disk form.
type xattr struct {
	index uint8
	name  string // without prefix
	value []byte
}

func (x xattr) entryLen() int { return (xattrEntrySize + len(x.name) + 3) &^ 3 }
func (x xattr) valueLen() int { return (len(x.value) + 3) &^ 3 }

// hash is the entry hash stored in attribute blocks.
func (x xattr) hash() uint32 {
	var h uint32
	for i := range len(x.name) {
		h = h<<5 ^ h>>27 ^ uint32(x.name[i])
	}
	padded := make([]byte, x.valueLen())
	copy(padded, x.value)
	for i := 0; i < len(padded); i += 4 {
		h = h<<16 ^ h>>16 ^ binary.LittleEndian.Uint32(padded[i:])
	}
	return h
}

// XattrStorable reports whether ext4 has a name space for an attribute.
func XattrStorable(name string) bool {
	_, ok := splitXattrName(name)
	return ok
}

func splitXattrName(name string) (xattr, bool) {
	for _, p := range xattrPrefixes {
		rest, ok := strings.CutPrefix(name, p.prefix)
		if exact := !strings.HasSuffix(p.prefix, "."); ok && exact == (rest == "") {
			return xattr{index: p.index, name: rest}, true
		}
	}
	return xattr{}, false
}

// encodeXattrs lays attributes out: what fits goes behind the inode's fields,
// the rest into a block of its own, nil if there is none. The block's checksum
// depends on where it is put and is left to sealXattrBlock.
func encodeXattrs(attrs map[string][]byte) (inline, block []byte, err error) {
	if len(attrs) == 0 {
		return nil, nil, nil
	}
	list := make([]xattr, 0, len(attrs))
	for name, value := range attrs {
		x, ok := splitXattrName(name)
		if !ok || len(x.name) > maxXattrName || strings.ContainsRune(name, 0) {
			return nil, nil, fmt.Errorf("extended attribute %q: bad name: %w", name, ErrInvalid)
		}
		x.value = value
		if name == xattrACLAccess || name == xattrACLDefault {
			if x.value, err = aclToDisk(value); err != nil {
				return nil, nil, fmt.Errorf("extended attribute %q: %w", name, err)
			}
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
	})

	var small, large []xattr
	free := inodeXattrSpace - 4 - 4 // magic, end mark
	for _, x := range list {
		if n := x.entryLen() + x.valueLen(); n <= free {
			free -= n
			small = append(small, x)
		} else {
			large = append(large, x)
		}
	}
	if len(small) > 0 {
		inline = make([]byte, inodeXattrSpace)
		binary.LittleEndian.PutUint32(inline, xattrMagic)
		putXattrs(inline[4:], 0, small, false)
	}
	if len(large) == 0 {
		return inline, nil, nil
	}
	need := xattrBlockHeader + 4
	for _, x := range large {
		need += x.entryLen() + x.valueLen()
	}
	if need > blockSize {
		return nil, nil, fmt.Errorf("extended attributes need %d bytes, at most %d: %w", need, blockSize, ErrInvalid)
	}
	block = make([]byte, blockSize)
	le := binary.LittleEndian
	le.PutUint32(block[0:], xattrMagic)
	le.PutUint32(block[4:], 1) // reference count
	le.PutUint32(block[8:], 1) // blocks
	putXattrs(block, xattrBlockHeader, large, true)
	var hash uint32
	for _, x := range large {
		hash = hash<<16 ^ hash>>16 ^ x.hash()
	}
	le.PutUint32(block[12:], hash)
	return inline, block, nil
}

// putXattrs writes entries from offset at on and values from the end of b
// backwards; value offsets count from the start of b.
func putXattrs(b []byte, at int, list []xattr, hashes bool) {
	le := binary.LittleEndian
	end := len(b)
	for _, x := range list {
		e := b[at:]
		e[0], e[1] = uint8(len(x.name)), x.index
		if len(x.value) > 0 {
			end -= x.valueLen()
			copy(b[end:], x.value)
			le.PutUint16(e[2:], uint16(end))
		}
		le.PutUint32(e[8:], uint32(len(x.value)))
		if hashes {
			le.PutUint32(e[12:], x.hash())
		}
		copy(e[xattrEntrySize:], x.name)
		at += x.entryLen()
	}
}

// sealXattrBlock sets the checksum of an attribute block that goes to block number at.
func sealXattrBlock(block []byte, at uint64, fsSeed uint32) {
	binary.LittleEndian.PutUint32(block[16:], xattrBlockChecksum(block, at, fsSeed))
}

func xattrBlockChecksum(block []byte, at uint64, fsSeed uint32) uint32 {
	sum := crc32cLE32(crc32cLE32(fsSeed, uint32(at)), uint32(at>>32))
	sum = crc32c(sum, block[:16])
	sum = crc32c(sum, make([]byte, 4))
	return crc32c(sum, block[20:])
}

// Tags of POSIX ACL entries; only the two with a name carry an id on disk.
const (
	aclUser  = 0x02
	aclGroup = 0x08

	aclXattrVersion = 2
	aclDiskVersion  = 1
)

// aclToDisk converts an ACL from the form of getxattr(2) to ext4's.
func aclToDisk(value []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(value) < 4 || le.Uint32(value) != aclXattrVersion || len(value)%8 != 4 {
		return nil, fmt.Errorf("malformed POSIX ACL: %w", ErrInvalid)
	}
	out := le.AppendUint32(nil, aclDiskVersion)
	for e := value[4:]; len(e) > 0; e = e[8:] {
		switch tag := le.Uint16(e); tag {
		case aclUser, aclGroup:
			out = append(out, e[:8]...)
		case 0x01, 0x04, 0x10, 0x20:
			out = append(out, e[:4]...)
		default:
			return nil, fmt.Errorf("POSIX ACL with unknown tag %#x: %w", tag, ErrInvalid)
		}
	}
	return out, nil
}

// aclFromDisk is the reverse of aclToDisk.
func aclFromDisk(value []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(value) < 4 || le.Uint32(value) != aclDiskVersion {
		return nil, corrupt("malformed POSIX ACL")
	}
	out := le.AppendUint32(nil, aclXattrVersion)
	for e := value[4:]; len(e) > 0; {
		n := 4
		if len(e) >= 4 && (le.Uint16(e) == aclUser || le.Uint16(e) == aclGroup) {
			n = 8
		}
		if len(e) < n {
			return nil, corrupt("malformed POSIX ACL")
		}
		out = append(out, e[:4]...)
		if n == 8 {
			out = append(out, e[4:8]...)
		} else {
			out = le.AppendUint32(out, ^uint32(0))
		}
		e = e[n:]
	}
	return out, nil
}

// CheckXattrs reports whether one inode can hold the attributes.
func CheckXattrs(attrs map[string][]byte) error {
	_, _, err := encodeXattrs(attrs)
	return err
}
