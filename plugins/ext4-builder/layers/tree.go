package layers

import (
	"maps"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

// Limits of what one image may hold, against layers made to exhaust memory.
const (
	maxEntries  = 2 << 20   // names, over all layers
	maxMetadata = 512 << 20 // bytes of names, link targets and attributes
)

// Tree is the root file system after the layers applied so far.
type Tree struct {
	root     *ext4.Node
	entries  int
	metadata int
	skipped  map[string]int
}

// NewTree returns a tree with an empty root directory of mode 0755.
func NewTree() *Tree {
	return &Tree{root: newDir(), skipped: make(map[string]int)}
}

// Root is the tree as the Writer takes it. The Tree must not be used afterwards.
func (t *Tree) Root() *ext4.Node { return t.root }

// Skipped counts extended attributes that ext4 cannot store, by name. They were
// left out, as container engines do.
func (t *Tree) Skipped() map[string]int { return maps.Clone(t.skipped) }

func newDir() *ext4.Node {
	return &ext4.Node{Mode: ext4.ModeDir | 0o755, Children: make(map[string]*ext4.Node)}
}

// charge accounts for one more entry.
func (t *Tree) charge(metadata int) error {
	t.entries++
	t.metadata += metadata
	if t.entries > maxEntries || t.metadata > maxMetadata {
		return invalid("image holds more than %d names or %d MiB of metadata", maxEntries, maxMetadata>>20)
	}
	return nil
}

// layer is one layer while it is read, a tree of its own. Only when complete is it
// merged: so a whiteout hides what is below, wherever in the layer it stands,
// and never what the layer itself brings.
type layer struct {
	tree  *Tree
	root  *ext4.Node
	marks map[*ext4.Node]*dirMarks
}

// dirMarks is what a layer says about a directory besides its entries.
type dirMarks struct {
	explicit  bool // has an entry of its own; else only named in paths
	opaque    bool // hides all entries of lower layers
	whiteouts map[string]struct{}
}

func newLayer(t *Tree) *layer {
	l := &layer{tree: t, marks: make(map[*ext4.Node]*dirMarks)}
	l.root = l.addDir()
	return l
}

func (l *layer) addDir() *ext4.Node {
	dir := newDir()
	l.marks[dir] = &dirMarks{}
	return dir
}

// merge puts directory upper of the layer onto directory lower of the tree.
func (l *layer) merge(lower, upper *ext4.Node) {
	marks := l.marks[upper]
	if marks.opaque {
		clear(lower.Children)
	}
	for name := range marks.whiteouts {
		delete(lower.Children, name)
	}
	for name, child := range upper.Children {
		if child.IsDir() {
			if below := lower.Children[name]; below != nil && below.IsDir() {
				l.merge(below, child)
				continue
			}
			if !l.prune(child) {
				continue
			}
		}
		lower.Children[name] = child
	}
	if marks.explicit {
		children := lower.Children
		*lower = *upper
		lower.Children = children
	}
}

// prune removes directories that the layer only named on the way to whiteouts and
// reports whether anything of dir is left.
func (l *layer) prune(dir *ext4.Node) bool {
	for name, child := range dir.Children {
		if child.IsDir() && !l.prune(child) {
			delete(dir.Children, name)
		}
	}
	marks := l.marks[dir]
	return marks.explicit || marks.opaque || len(dir.Children) > 0
}
