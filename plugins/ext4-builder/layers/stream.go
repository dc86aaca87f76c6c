package layers

import (
	// The algorithms that digests of images use.
	_ "crypto/sha256"
	_ "crypto/sha512"

	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// Blob describes a layer and what its image promises about it.
type Blob struct {
	Digest digest.Digest // of the blob as stored
	Size   int64         // of the blob as stored, in bytes
	DiffID digest.Digest // of the tar inside
}

// MaxContent is how many bytes of tar a layer may hold: more is taken for a
// decompression bomb.
const MaxContent = 1 << 40

// Stream is the tar inside a layer blob. It starts reading before it is asked,
// so opening the next layer early overlaps its decompression with this one.
type Stream struct {
	blob   Blob
	ctx    context.Context // of the stages
	cancel context.CancelFunc
	stages []*aheadReader
	closer func() // of the decompressor
	out    io.Reader
	stored countingHash // of the blob
	tar    countingHash // of its content
	passed int64        // bytes given to the reader
}

// countingHash is a digest and the number of bytes it covers.
type countingHash struct {
	hash.Hash
	n int64
}

func (c *countingHash) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.Hash.Write(p)
}

func (c *countingHash) matches(what string, want digest.Digest) error {
	if got := digest.NewDigest(want.Algorithm(), c.Hash); got != want {
		return &DigestError{What: what, Want: want, Got: got}
	}
	return nil
}

const (
	zstdMaxWindow = 128 << 20 // more than the format's recommended 8 MiB, but bounded
	magicLen      = 4
)

// Open starts to read a blob: plain tar, gzip or zstd, told apart by their
// first bytes. r is read until Close returns, which the caller must wait for
// before closing it.
func Open(ctx context.Context, r io.Reader, blob Blob) (*Stream, error) {
	for _, d := range []digest.Digest{blob.Digest, blob.DiffID} {
		if err := d.Validate(); err != nil {
			return nil, invalid("digest %q: %v", d, err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{
		blob: blob, ctx: ctx, cancel: cancel, closer: func() {},
		stored: countingHash{Hash: blob.Digest.Algorithm().Hash()},
		tar:    countingHash{Hash: blob.DiffID.Algorithm().Hash()},
	}
	// One byte more than promised tells a blob that is too long from one that fits.
	raw := bufio.NewReaderSize(s.stage(sourceReader{io.LimitReader(r, blob.Size+1)}, &s.stored), 64<<10)
	magic, err := raw.Peek(magicLen)
	if err != nil && err != io.EOF {
		s.Close()
		return nil, fmt.Errorf("read layer blob: %w", err)
	}
	switch {
	case isGzip(magic):
		s.out = io.TeeReader(s.stage(&lazyGzip{src: raw}, nil), &s.tar)
	case isZstd(magic):
		z, err := zstd.NewReader(raw, zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			s.Close()
			return nil, invalid("zstd: %v", err)
		}
		s.closer = z.Close
		s.out = io.TeeReader(s.stage(z, nil), &s.tar)
	case blob.Digest == blob.DiffID: // stored as it is: one digest covers both
		s.out = raw
		s.tar.Hash = s.stored.Hash
	default:
		s.out = io.TeeReader(raw, &s.tar)
	}
	return s, nil
}

func isGzip(magic []byte) bool { return bytes.HasPrefix(magic, []byte{0x1f, 0x8b}) }

// isZstd recognises a frame of data and a skippable frame, which may come first.
func isZstd(magic []byte) bool {
	return bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(magic) == magicLen && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

// lazyGzip reads the header on first use, so that a bad one is an error like
// any other in the stream.
type lazyGzip struct {
	src io.Reader
	gz  *gzip.Reader
}

func (l *lazyGzip) Read(p []byte) (int, error) {
	if l.gz == nil {
		gz, err := gzip.NewReader(l.src)
		if err != nil {
			return 0, err
		}
		l.gz = gz
	}
	return l.gz.Read(p)
}

// stage starts to read src ahead.
func (s *Stream) stage(src io.Reader, sum io.Writer) io.Reader {
	a := readAhead(s.ctx, src, sum)
	s.stages = append(s.stages, a)
	return a
}

// Read implements io.Reader. Errors of the compressed form wrap ErrInvalid.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	s.passed += int64(n)
	if s.passed > MaxContent {
		return n, invalid("holds more than %d GiB", int64(MaxContent)>>30)
	}
	var source *sourceError
	switch {
	case err == nil || err == io.EOF || s.ctx.Err() != nil:
		return n, err
	case errors.As(err, &source):
		return n, fmt.Errorf("read layer blob: %w", source.error)
	default:
		return n, invalid("%v", err)
	}
}

// Verify reads what is left and checks size and digests, also after a Read has
// failed: a blob that is not the one described is a *DigestError or a wrong
// size rather than whatever the reader stumbled over.
func (s *Stream) Verify() error {
	_, readErr := io.Copy(io.Discard, s)
	if s.ctx.Err() != nil || s.passed > MaxContent {
		return readErr
	}
	// The decompressor is done, or has given up before the end of the blob.
	if _, err := io.Copy(io.Discard, s.stages[0]); err != nil {
		return fmt.Errorf("read layer blob: %w", err)
	}
	switch {
	case s.stored.n < s.blob.Size:
		return invalid("blob ends after %d of %d bytes", s.stored.n, s.blob.Size)
	case s.stored.n > s.blob.Size:
		return invalid("blob is longer than the %d bytes of its descriptor", s.blob.Size)
	}
	if err := s.stored.matches("layer blob", s.blob.Digest); err != nil {
		return err
	}
	if readErr != nil {
		return readErr
	}
	return s.tar.matches("layer content", s.blob.DiffID)
}

// Close stops reading ahead and waits until the blob is no longer used.
func (s *Stream) Close() {
	s.cancel()
	for _, a := range s.stages {
		a.wait()
	}
	s.closer()
}

// sourceReader marks the errors of the blob's reader, to tell them from those
// of the decompressor above it.
type sourceReader struct{ io.Reader }

type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

func (r sourceReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = &sourceError{err}
	}
	return n, err
}
