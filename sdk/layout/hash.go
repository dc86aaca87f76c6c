package layout

import (
	"bytes"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	chunkSize = 256 << 10
	chunks    = 8 // between reading and hashing, so that neither waits for the other's hiccups
)

// hashing makes a digest of chunks on its own goroutine, which stop waits for.
type hashing struct {
	free   chan []byte // to be filled
	work   chan []byte // to be hashed, in order
	result chan digest.Digest
	once   sync.Once
	digest digest.Digest
}

func startHash(of ocispec.Descriptor) *hashing {
	size := min(of.Size+1, chunkSize) // documents take little memory
	count := min(of.Size/size+1, chunks)
	h := &hashing{free: make(chan []byte, count), work: make(chan []byte, count), result: make(chan digest.Digest, 1)}
	for range count {
		h.free <- make([]byte, size)
	}
	go func() {
		sum := of.Digest.Algorithm().Hash()
		for chunk := range h.work {
			_, _ = sum.Write(chunk) // a hash.Hash never fails
			h.free <- chunk[:cap(chunk)]
		}
		h.result <- digest.NewDigest(of.Digest.Algorithm(), sum)
	}()
	return h
}

// stop returns the digest of all chunks.
func (h *hashing) stop() digest.Digest {
	h.once.Do(func() {
		close(h.work)
		h.digest = <-h.result
	})
	return h.digest
}

// memory is a blob that is there already.
func memory(raw []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(raw)) }
