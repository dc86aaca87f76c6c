package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/plugins/ext4-builder/layers"
)

// Version names the mapping from manifests to bytes. It changes whenever the
// image of some manifest would.
const Version = 1

// Progress is told how many of the layers' stored bytes have been read.
type Progress func(done, total int64)

// Result is what Build reports about an image.
type Result struct {
	UUID    [16]byte
	Skipped map[string]int // extended attributes left out, by name: ext4 has no place for them
}

// Options derives the identity of the image of a manifest: equal manifests
// have equal images, down to UUID and directory hashes.
func Options(manifest digest.Digest) ext4.Options {
	derive := func(purpose string) (id [16]byte) {
		sum := sha256.Sum256(fmt.Appendf(nil, "vzctl ext4 image v%d %s %s", Version, purpose, manifest))
		copy(id[:], sum[:])
		id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // a UUID of version 8
		return id
	}
	return ext4.Options{UUID: derive("uuid"), HashSeed: derive("hash seed"), Label: "vzctl-image"}
}

// Build writes the image of a manifest to out, which is new and empty. On an
// error the caller removes out. progress may be nil.
func Build(ctx context.Context, layout Layout, manifest digest.Digest, out ext4.Output, progress Progress) (*Result, error) {
	blobs, err := layout.layerBlobs(manifest)
	if err != nil {
		return nil, err
	}
	opts := Options(manifest)
	w := ext4.NewWriter(out, opts)
	tree := layers.NewTree()
	if err := applyAll(ctx, layout, blobs, tree, w, newMeter(blobs, progress)); err != nil {
		return nil, err
	}
	skipped := tree.Skipped()
	if err := w.Finish(ctx, tree.Root()); err != nil {
		return nil, err
	}
	return &Result{UUID: opts.UUID, Skipped: skipped}, nil
}

// applyAll applies the layers in order, the next one already being decompressed.
func applyAll(ctx context.Context, layout Layout, blobs []layers.Blob, tree *layers.Tree, w *ext4.Writer, m *meter) (err error) {
	opened := make([]*openLayer, len(blobs))
	defer func() {
		for _, o := range opened {
			if o != nil {
				err = errors.Join(err, o.close())
			}
		}
	}()
	for i := range blobs {
		for _, next := range []int{i, i + 1} {
			if next < len(blobs) && opened[next] == nil {
				if opened[next], err = openBlob(ctx, layout, blobs[next], m); err != nil {
					return fmt.Errorf("layer %d (%s): %w", next+1, blobs[next].Digest, err)
				}
			}
		}
		if err := opened[i].apply(ctx, tree, w); err != nil {
			return fmt.Errorf("layer %d (%s): %w", i+1, blobs[i].Digest, err)
		}
		if err := opened[i].close(); err != nil {
			return err
		}
		opened[i] = nil
	}
	return nil
}

// openLayer is a layer that is being read ahead.
type openLayer struct {
	file   *os.File
	stream *layers.Stream
}

func openBlob(ctx context.Context, layout Layout, blob layers.Blob, m *meter) (*openLayer, error) {
	if err := blob.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("%w: digest %q: %v", layers.ErrInvalid, blob.Digest, err)
	}
	f, err := layout.open(blob.Digest)
	if err != nil {
		return nil, err
	}
	stream, err := layers.Open(ctx, meteredReader{f, m}, blob)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &openLayer{f, stream}, nil
}

// apply merges the layer. A blob that is not what its digest says is reported as
// that, whatever it led to.
func (o *openLayer) apply(ctx context.Context, tree *layers.Tree, w *ext4.Writer) error {
	err := tree.Apply(ctx, o.stream, w)
	if err != nil && !errors.Is(err, layers.ErrInvalid) {
		return err
	}
	if verifyErr := o.stream.Verify(); verifyErr != nil {
		return verifyErr
	}
	return err
}

func (o *openLayer) close() error {
	o.stream.Close()
	return o.file.Close()
}

// meter adds up what all layers have read.
type meter struct {
	report Progress
	total  int64

	mu   sync.Mutex
	done int64
}

func newMeter(blobs []layers.Blob, report Progress) *meter {
	m := &meter{report: report}
	for _, b := range blobs {
		m.total += b.Size
	}
	return m
}

func (m *meter) add(n int) {
	if m.report == nil || n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += int64(n)
	m.report(m.done, m.total)
}

type meteredReader struct {
	r io.Reader
	m *meter
}

func (r meteredReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.add(n)
	return n, err
}
