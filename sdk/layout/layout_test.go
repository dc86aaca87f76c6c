package layout_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
	"github.com/vzctl/vzctl/sdk/layout"
)

func describe(raw []byte) ocispec.Descriptor {
	return ocispec.Descriptor{Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}

func from(raw []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
}

func TestWrittenBlobsAreThereUnderTheirNames(t *testing.T) {
	for name, size := range map[string]int{
		"an empty one": 0, "a byte": 1, "just a chunk": 256 << 10, "a chunk and a byte": 256<<10 + 1, "many chunks": 9<<20 + 12345,
	} {
		t.Run(name, func(t *testing.T) {
			raw := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			d, dir := describe(raw), layout.Dir{Path: t.TempDir()}
			var last int64
			read, err := dir.Write(t.Context(), d, from(raw), func(done int64) { last = done })
			if err != nil || read != d.Size || last != d.Size {
				t.Fatalf("read %d bytes, progress %d of %d, error %v", read, last, d.Size, err)
			}
			path, err := dir.Blob(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("the blob has other bytes (%v)", err)
			}
			if got := imagetest.Files(t, dir.Path); !slices.Equal(got, imagetest.BlobNames(d)) {
				t.Errorf("files are %v", got)
			}
			if read, err := dir.Write(t.Context(), d, nil, nil); read != 0 || err != nil {
				t.Errorf("the second time %d bytes were read, error %v", read, err)
			}
		})
	}
}

func TestBadBlobsLeaveNothing(t *testing.T) {
	raw := bytes.Repeat([]byte("x"), 3<<20)
	broken := errors.New("the connection broke")
	for _, c := range []struct {
		name   string
		of     ocispec.Descriptor
		source io.Reader
		want   error
	}{
		{"other bytes", ocispec.Descriptor{Digest: digest.FromString("y"), Size: int64(len(raw))}, bytes.NewReader(raw), fault.DigestMismatch},
		{"less than described", ocispec.Descriptor{Digest: digest.FromBytes(raw), Size: int64(len(raw)) + 1}, bytes.NewReader(raw), fault.DigestMismatch},
		{"more than described", ocispec.Descriptor{Digest: digest.FromBytes(raw), Size: int64(len(raw)) - 1}, bytes.NewReader(raw), fault.DigestMismatch},
		{"more without an end", ocispec.Descriptor{Digest: digest.FromBytes(raw), Size: int64(len(raw))}, endless{}, fault.DigestMismatch},
		{"a source that breaks off", describe(raw), io.MultiReader(bytes.NewReader(raw[:1<<20]), failing{broken}), broken},
		{"a source that breaks off as HTTP does", describe(raw), io.MultiReader(bytes.NewReader(raw[:10]), failing{io.ErrUnexpectedEOF}), io.ErrUnexpectedEOF},
		{"a negative size", ocispec.Descriptor{Digest: digest.FromBytes(raw), Size: -1}, bytes.NewReader(raw), fault.Invalid},
		{"a size beyond all disks", ocispec.Descriptor{Digest: digest.FromBytes(raw), Size: 1<<63 - 1}, bytes.NewReader(raw), fault.Invalid},
		{"a path in place of a digest", ocispec.Descriptor{Digest: "sha256:../../../etc/passwd", Size: 1}, bytes.NewReader(raw), fault.Invalid},
		{"an unknown algorithm", ocispec.Descriptor{Digest: "md5:d41d8cd98f00b204e9800998ecf8427e", Size: 1}, bytes.NewReader(raw), fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := layout.Dir{Path: t.TempDir()}
			_, err := dir.Write(t.Context(), c.of, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(c.source), nil }, nil)
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if got := imagetest.Files(t, dir.Path); len(got) != 0 {
				t.Errorf("left behind: %v", got)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestOneWriterBringsABlobForAll(t *testing.T) {
	raw := bytes.Repeat([]byte("z"), 5<<20)
	d, dir := describe(raw), layout.Dir{Path: t.TempDir()}
	var mu sync.Mutex
	opened := 0
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			_, err := dir.Write(t.Context(), d, func(ctx context.Context) (io.ReadCloser, error) {
				mu.Lock()
				defer mu.Unlock()
				opened++
				return from(raw)(ctx)
			}, nil)
			if err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if opened != 1 {
		t.Errorf("the source was opened %d times", opened)
	}
	if got := imagetest.Files(t, dir.Path); !slices.Equal(got, imagetest.BlobNames(d)) {
		t.Errorf("files are %v", got)
	}
}

func TestAWriterCanBeCancelledWhileItWaits(t *testing.T) {
	raw := []byte("content")
	d, dir := describe(raw), layout.Dir{Path: t.TempDir()}
	inside, release := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		_, err := dir.Write(t.Context(), d, func(ctx context.Context) (io.ReadCloser, error) {
			close(inside)
			<-release
			return from(raw)(ctx)
		}, nil)
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dir.Write(ctx, d, from(raw), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
	close(release)
	first.Wait()
}

func TestPrepareRemovesWhatTheDeadLeft(t *testing.T) {
	raw := []byte("content")
	d, dir := describe(raw), layout.Dir{Path: t.TempDir()}
	if err := dir.Prepare(); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir.Path, "ingest", "sha256-"+digest.FromString("dead").Encoded())
	if err := os.WriteFile(dead, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := dir.Write(t.Context(), d, func(ctx context.Context) (io.ReadCloser, error) {
		if err := dir.Prepare(); err != nil { // another process comes while this one writes
			return nil, err
		}
		if got := imagetest.Files(t, dir.Path); !slices.Equal(got, []string{"ingest/sha256-" + d.Digest.Encoded()}) {
			t.Errorf("files are %v, want only the one being written", got)
		}
		return from(raw)(ctx)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamagedBlobs(t *testing.T) {
	raw := []byte(`{"a":1}`)
	d, dir := describe(raw), layout.Dir{Path: t.TempDir()}
	if err := dir.WriteDocument(t.Context(), d, raw); err != nil {
		t.Fatal(err)
	}
	path, err := dir.Blob(d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"a":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Read(d); !errors.Is(err, fault.DigestMismatch) {
		t.Errorf("reading gives %v, want a digest mismatch", err)
	}
	if have, err := dir.Has(d); have || err != nil {
		t.Errorf("a damaged document counts as %t, %v", have, err)
	}
	if err := dir.WriteDocument(t.Context(), d, raw); err != nil {
		t.Fatal(err)
	}
	if got, err := dir.Read(d); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("after writing again: %q, %v", got, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Read(d); !errors.Is(err, fault.NotFound) {
		t.Errorf("reading what is gone gives %v", err)
	}
}
