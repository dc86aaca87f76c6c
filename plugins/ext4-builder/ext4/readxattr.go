package ext4

import (
	"encoding/binary"
	"fmt"
)

// Xattrs returns the extended attributes of an inode by full name, POSIX ACLs
// in the form of getxattr(2). Attributes of unknown name spaces are left out.
func (fs *Reader) Xattrs(in *Inode) (map[string][]byte, error) {
	attrs := make(map[string][]byte)
	if len(in.xattrs) >= 4 && binary.LittleEndian.Uint32(in.xattrs) == xattrMagic {
		area := in.xattrs[4:]
		if err := parseXattrs(area, 0, attrs); err != nil {
			return nil, fmt.Errorf("attributes in inode %d: %w", in.Number, err)
		}
	}
	if in.xattrBlock == 0 {
		return attrs, nil
	}
	b, err := fs.readBlock(in.xattrBlock)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if le.Uint32(b) != xattrMagic || le.Uint32(b[8:]) != 1 {
		return nil, corrupt("header of attribute block %d", in.xattrBlock)
	}
	if !fs.unchecked && xattrBlockChecksum(b, in.xattrBlock, fs.seed) != le.Uint32(b[16:]) {
		return nil, corrupt("checksum of attribute block %d", in.xattrBlock)
	}
	if err := parseXattrs(b, xattrBlockHeader, attrs); err != nil {
		return nil, fmt.Errorf("attributes of inode %d: %w", in.Number, err)
	}
	return attrs, nil
}

// parseXattrs reads the entries of area from offset at on. Values may not
// overlap, so together they are no larger than the area.
func parseXattrs(area []byte, at int, attrs map[string][]byte) error {
	le := binary.LittleEndian
	room := len(area)
	for at+4 <= len(area) && le.Uint32(area[at:]) != 0 {
		if at+xattrEntrySize > len(area) {
			return corrupt("attribute entry cut off")
		}
		e := area[at:]
		nameLen, offset, size := int(e[0]), int(le.Uint16(e[2:])), le.Uint32(e[8:])
		if xattrEntrySize+nameLen > len(e) {
			return corrupt("attribute name cut off")
		}
		if le.Uint32(e[4:]) != 0 {
			return fmt.Errorf("%w: attribute value in an inode of its own", ErrUnsupported)
		}
		if size > uint32(room) || size > 0 && offset+int(size) > len(area) {
			return corrupt("attribute value of %d bytes at %d", size, offset)
		}
		room -= int(size)
		var value []byte
		if size > 0 {
			value = append(value, area[offset:][:size]...)
		}
		if err := addXattr(attrs, e[1], string(e[xattrEntrySize:][:nameLen]), value); err != nil {
			return err
		}
		at += (xattrEntrySize + nameLen + 3) &^ 3
	}
	return nil
}

func addXattr(attrs map[string][]byte, index uint8, name string, value []byte) error {
	for _, p := range xattrPrefixes {
		if p.index != index {
			continue
		}
		full := p.prefix + name
		if full == xattrACLAccess || full == xattrACLDefault {
			var err error
			if value, err = aclFromDisk(value); err != nil {
				return err
			}
		}
		attrs[full] = value
	}
	return nil
}
