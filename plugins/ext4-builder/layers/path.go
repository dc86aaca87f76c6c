package layers

import (
	"path"
	"strings"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

const (
	maxPath  = 4096 // bytes, as PATH_MAX
	maxDepth = 2048 // directories, what fits in maxPath
	maxHops  = 40   // symbolic links on the way, as the kernel
)

// cleanPath returns the components of a name in a layer; none is the root. Names
// may be absolute or start with "./", but not lead out of the root.
func cleanPath(name string) ([]string, error) {
	if len(name) > maxPath {
		return nil, invalid("path of %d bytes, at most %d", len(name), maxPath)
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case clean == "." || name == "/":
		return nil, nil
	case clean == ".." || strings.HasPrefix(clean, "../"):
		return nil, invalid("path %q leads out of the root", name)
	case strings.ContainsRune(clean, 0):
		return nil, invalid("path %q with NUL", name)
	}
	parts := strings.Split(clean, "/")
	for _, p := range parts {
		if len(p) > ext4.MaxName {
			return nil, invalid("name of %d bytes, at most %d, in %q", len(p), ext4.MaxName, name)
		}
	}
	return parts, nil
}

// resolver says what to do about a directory that is not there yet.
type resolver struct {
	root *ext4.Node
	// mkdir makes a missing directory; nil if that is an error.
	mkdir func() (*ext4.Node, error)
}

// dir follows parts from the root to a directory, through symbolic links, which
// cannot lead out of the root. It returns nil if something is missing or no
// directory and may not be made.
func (r resolver) dir(parts []string) (*ext4.Node, error) {
	stack := []*ext4.Node{r.root}
	todo := parts
	for hops := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		top := stack[len(stack)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		next := top.Children[name]
		if next == nil {
			if r.mkdir == nil {
				return nil, nil
			}
			made, err := r.mkdir()
			if err != nil {
				return nil, err
			}
			if len(name) > ext4.MaxName {
				return nil, invalid("name of %d bytes in a symlink on the way", len(name))
			}
			top.Children[name], next = made, made
		}
		switch next.Type() {
		case ext4.ModeDir:
			if stack = append(stack, next); len(stack) > maxDepth {
				return nil, invalid("directories nested more than %d deep", maxDepth)
			}
		case ext4.ModeSymlink:
			if hops++; hops > maxHops {
				return nil, invalid("more than %d symbolic links in %q", maxHops, strings.Join(parts, "/"))
			}
			if strings.HasPrefix(next.Target, "/") {
				stack = stack[:1]
			}
			todo = append(strings.Split(next.Target, "/"), todo...)
		default:
			if r.mkdir == nil {
				return nil, nil
			}
			return nil, invalid("%q is below something that is not a directory", strings.Join(parts, "/"))
		}
	}
	return stack[len(stack)-1], nil
}

// find returns what an entry names, without following a link at its end, or nil.
func (r resolver) find(parts []string) (*ext4.Node, error) {
	if len(parts) == 0 {
		return r.root, nil
	}
	dir, err := r.dir(parts[:len(parts)-1])
	if dir == nil || err != nil {
		return nil, err
	}
	return dir.Children[parts[len(parts)-1]], nil
}
