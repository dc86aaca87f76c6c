package layers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

// FuzzApply feeds two layers; whatever they hold, the result must be a tree
// that ext4 can store, or an error of the layer.
func FuzzApply(f *testing.F) {
	base := archive(f, dir("d", 0o755), file("d/a"), symlink("s", "d"), link("l", "d/a"))
	for _, upper := range []entries{
		{file("s/x"), file("d/.wh.a"), file("d/.wh..wh..opq"), link("m", "l")},
		{symlink("d", "/../s"), file("d/q/../r"), dir("./", 0o700), xattr("x", "user.y", "z")},
		{file("../x"), xattr("a", "trusted.overlay.opaque", "y")},
		{file(".wh.d"), file("d/b"), file("l/x")},
	} {
		f.Add(base, archive(f, upper...))
	}
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		ctx := context.Background()
		w := ext4.NewWriter(&devNull{}, ext4.Options{})
		tree := NewTree()
		for _, layer := range [][]byte{lower, upper} {
			// Sparse entries may claim any size; that costs time only.
			if err := tree.Apply(ctx, bytes.NewReader(layer), smallFiles{w}); err != nil {
				return
			}
		}
		if err := w.Finish(ctx, tree.Root()); err != nil {
			t.Errorf("a tree that cannot be stored: %v", err)
		}
	})
}

// smallFiles refuses contents that would only take time.
type smallFiles struct{ *ext4.Writer }

var errLarge = errors.New("too large for fuzzing")

func (s smallFiles) AddData(ctx context.Context, r io.Reader, size int64) (ext4.Data, error) {
	if size > 1<<20 {
		return ext4.Data{}, errLarge
	}
	return s.Writer.AddData(ctx, r, size)
}

type devNull struct{}

func (*devNull) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (*devNull) Truncate(int64) error                   { return nil }
func (*devNull) Sync() error                            { return nil }
