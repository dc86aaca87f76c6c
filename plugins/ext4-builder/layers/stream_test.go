package layers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
)

// readAll reads a blob through a Stream and verifies it.
func readAll(r io.Reader, blob Blob) ([]byte, error) {
	s, err := Open(context.Background(), r, blob)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	content, err := io.ReadAll(s)
	if verifyErr := s.Verify(); verifyErr != nil {
		return nil, verifyErr
	}
	return content, err
}

func describe(stored, content []byte) Blob {
	return Blob{Digest: digest.FromBytes(stored), Size: int64(len(stored)), DiffID: digest.FromBytes(content)}
}

func TestBlobsOfEachForm(t *testing.T) {
	for _, size := range []int{0, 1, 5000, 3 << 20} {
		content := bytes.Repeat([]byte("layer content\n"), size)[:size]
		for _, form := range imagetest.Forms {
			stored := form.Stored(t, content)
			got, err := readAll(bytes.NewReader(stored), describe(stored, content))
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s of %d bytes: %d bytes, %v", form.Name, size, len(got), err)
			}
			got, err = readAll(iotest.HalfReader(bytes.NewReader(stored)), describe(stored, content))
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s of %d bytes in small reads: %d bytes, %v", form.Name, size, len(got), err)
			}
		}
	}
}

func TestGzipOfSeveralMembersIsOneLayer(t *testing.T) {
	gzip := imagetest.Forms[1]
	stored := append(gzip.Stored(t, []byte("one")), gzip.Stored(t, []byte("two"))...)
	if got, err := readAll(bytes.NewReader(stored), describe(stored, []byte("onetwo"))); err != nil || string(got) != "onetwo" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBlobsThatAreNotWhatTheyShould(t *testing.T) {
	content := bytes.Repeat([]byte("layer content\n"), 100_000)
	for _, form := range imagetest.Forms {
		stored := form.Stored(t, content)
		good := describe(stored, content)
		flipped := bytes.Clone(stored)
		flipped[len(flipped)/2] ^= 1
		wrongDiff := good
		wrongDiff.DiffID = digest.FromString("other")
		html := []byte("<html>" + strings.Repeat(" ", len(stored)-6))

		wantMismatch := func(name string, blob Blob, served []byte) {
			t.Helper()
			var mismatch *DigestError
			if _, err := readAll(bytes.NewReader(served), blob); !errors.As(err, &mismatch) {
				t.Errorf("%s, %s: %v, want a DigestError", form.Name, name, err)
			}
		}
		wantMismatch("a flipped bit", good, flipped)
		wantMismatch("another content than the configuration says", wrongDiff, stored)
		wantMismatch("a web page", good, html)

		wantInvalid := func(name string, blob Blob, served []byte) {
			t.Helper()
			if _, err := readAll(bytes.NewReader(served), blob); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, %s: %v, want ErrInvalid", form.Name, name, err)
			}
		}
		wantInvalid("truncated", good, stored[:len(stored)-100])
		wantInvalid("nothing", good, nil)
		wantInvalid("too long", good, append(bytes.Clone(stored), "more"...))
		wantInvalid("a digest that is none", Blob{Digest: "sha256:../../etc/passwd", DiffID: good.DiffID}, stored)
	}
}

func TestCorruptButMatchingBlobIsInvalid(t *testing.T) {
	stored := imagetest.Forms[1].Stored(t, make([]byte, 10_000))
	stored[len(stored)-5] ^= 1 // of the CRC
	if _, err := readAll(bytes.NewReader(stored), describe(stored, make([]byte, 10_000))); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
}

func TestFailingDiskIsNotTheLayersFault(t *testing.T) {
	broken := errors.New("input/output error")
	for _, form := range imagetest.Forms {
		stored := form.Stored(t, bytes.Repeat([]byte("content"), 1000))
		r := io.MultiReader(bytes.NewReader(stored[:20]), iotest.ErrReader(broken))
		if _, err := readAll(r, describe(stored, nil)); !errors.Is(err, broken) || errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", form.Name, err)
		}
	}
}

func TestCancelledContextEndsAStream(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	endless := io.MultiReader(strings.NewReader("plain"), zeroReader{})
	s, err := Open(ctx, endless, Blob{Digest: digest.FromString(""), DiffID: digest.FromString("x"), Size: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Verify(); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify: %v", err)
	}
	s.Close() // must return
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
