package ext4

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// File types and permission bits of [Node.Mode], as in stat(2).
const (
	ModeType    = 0xF000
	ModeSocket  = 0xC000
	ModeSymlink = 0xA000
	ModeRegular = 0x8000
	ModeBlock   = 0x6000
	ModeDir     = 0x4000
	ModeChar    = 0x2000
	ModeFIFO    = 0x1000
	ModePerm    = 0x0FFF // with set-id and sticky bits
)

// Limits of the format that callers may want to refuse early.
const (
	MaxName   = 255   // bytes of a name
	MaxTarget = 4095  // bytes of a symlink's target
	MaxLinks  = 65000 // names of one file
	maxMajor  = 1<<12 - 1
	maxMinor  = 1<<20 - 1
)

// ErrInvalid is wrapped by every error about input that ext4 cannot hold.
var ErrInvalid = errors.New("not possible in ext4")

// Node is one inode to be written. Two names with the same Node are hard
// links. A Node belongs to one tree and one [Writer.Finish].
type Node struct {
	Mode    uint16 // type and permission bits, see [ModeType]
	UID     uint32
	GID     uint32
	ModTime time.Time         // also access, change and birth time; clamped to 1901..2446; zero is the epoch
	Xattrs  map[string][]byte // full names; POSIX ACLs in the form of getxattr(2)

	Target       string           // of a symlink
	Major, Minor uint32           // of a device
	Data         Data             // of a regular file, from [Writer.AddData]
	Children     map[string]*Node // of a directory

	// Assigned by Finish.
	ino, parent uint32
	links       uint32
	subdirs     uint32
}

// Data is the content of a regular file, already in the image. The zero value
// is the content of an empty file.
type Data struct {
	size    uint64
	extents []extent
}

// Size is the file's length in bytes.
func (d Data) Size() int64 { return int64(d.size) }

// Type returns the file type bits of the mode.
func (n *Node) Type() uint16 { return n.Mode & ModeType }

// IsDir reports whether n is a directory.
func (n *Node) IsDir() bool { return n.Type() == ModeDir }

// names returns the names of the directory's entries in order.
func (n *Node) names() []string {
	names := make([]string, 0, len(n.Children))
	for name := range n.Children {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// number assigns inode numbers and counts links. Numbers follow the sorted
// tree, a directory's children next to each other, so that they depend on
// nothing but the tree. It returns the nodes below root in order of number.
func number(root *Node) ([]*Node, error) {
	if !root.IsDir() {
		return nil, fmt.Errorf("root is not a directory: %w", ErrInvalid)
	}
	root.ino, root.parent, root.links = rootIno, rootIno, 1
	var nodes []*Node
	var walk func(dir *Node, path string) error
	walk = func(dir *Node, path string) error {
		names := dir.names()
		for _, name := range names {
			n := dir.Children[name]
			if err := checkName(name); err != nil {
				return fmt.Errorf("entry %q of %q: %w", name, path+"/", err)
			}
			n.links++
			if n.links > MaxLinks {
				return fmt.Errorf("%q: more than %d hard links: %w", path+"/"+name, MaxLinks, ErrInvalid)
			}
			if n.ino != 0 {
				if n.IsDir() {
					return fmt.Errorf("%q: directory has two names: %w", path+"/"+name, ErrInvalid)
				}
				continue
			}
			if err := n.check(); err != nil {
				return fmt.Errorf("%q: %w", path+"/"+name, err)
			}
			nodes = append(nodes, n)
			n.ino = uint32(firstFreeIno - 1 + len(nodes))
			if n.IsDir() {
				n.parent = dir.ino
				dir.subdirs++
			}
		}
		for _, name := range names {
			if n := dir.Children[name]; n.IsDir() {
				if err := walk(n, path+"/"+name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := walk(root, ""); err != nil {
		return nil, err
	}
	return nodes, nil
}

func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("reserved name: %w", ErrInvalid)
	case len(name) > MaxName:
		return fmt.Errorf("name of %d bytes, at most %d: %w", len(name), MaxName, ErrInvalid)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("name with a slash or NUL: %w", ErrInvalid)
	}
	return nil
}

// check reports what about a node ext4 cannot represent.
func (n *Node) check() error {
	switch n.Type() {
	case ModeSymlink:
		if len(n.Target) == 0 || len(n.Target) > MaxTarget || strings.ContainsRune(n.Target, 0) {
			return fmt.Errorf("symlink target of %d bytes, want 1 to %d without NUL: %w", len(n.Target), MaxTarget, ErrInvalid)
		}
	case ModeChar, ModeBlock:
		if n.Major > maxMajor || n.Minor > maxMinor {
			return fmt.Errorf("device number %d:%d is too large: %w", n.Major, n.Minor, ErrInvalid)
		}
	case ModeRegular, ModeDir, ModeFIFO, ModeSocket:
	default:
		return fmt.Errorf("unknown file type %#o: %w", n.Type(), ErrInvalid)
	}
	return nil
}

// dirents lists a directory's entries as they go to disk, in order of name.
func (n *Node) dirents() []dirent {
	entries := make([]dirent, 0, len(n.Children))
	for name, child := range n.Children {
		entries = append(entries, dirent{ino: child.ino, kind: direntKind(child.Mode), name: name})
	}
	slices.SortFunc(entries, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	return entries
}
