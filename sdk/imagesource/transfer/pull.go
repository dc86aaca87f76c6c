package transfer

import (
	"context"
	"io"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/vzctl/vzctl/sdk/layout"
	"github.com/vzctl/vzctl/sdk/progress"
)

// DefaultConcurrent is how many blobs are brought at once if nobody says.
const DefaultConcurrent = 3

const maxConcurrent = 32

// Pull brings the tree into a layout and returns the bytes of blobs that were really transferred. Blobs that are there are not brought again. The
// first failure ends it; what is complete by then stays, what is not leaves nothing.
func (t *Tree) Pull(ctx context.Context, into layout.Dir, concurrent uint32, report progress.Func) (transferred int64, err error) {
	if concurrent == 0 {
		concurrent = DefaultConcurrent
	}
	if err := into.Prepare(); err != nil {
		return 0, err
	}
	board := &scoreboard{report: report}
	for _, d := range t.Layers {
		board.show(d, 0)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(int(min(concurrent, maxConcurrent)))
	for _, d := range t.Layers {
		group.Go(func() error {
			open := func(ctx context.Context) (io.ReadCloser, error) { return t.origin.Blob(ctx, d) }
			read, err := into.Write(groupCtx, d, open, board.follow(d))
			board.add(read)
			if err == nil {
				board.show(d, d.Size)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return board.total, err
	}
	// From the leaves to the root: whoever finds a document finds what it names, unless that was removed.
	for i := len(t.documents) - 1; i >= 0; i-- {
		doc := t.documents[i]
		have, err := into.Has(doc.descriptor)
		if err == nil && !have {
			err = into.WriteDocument(ctx, doc.descriptor, doc.raw)
			board.add(doc.descriptor.Size)
		}
		if err != nil {
			return board.total, err
		}
	}
	return board.total, into.Sync()
}

// scoreboard orders the reports of several blobs.
type scoreboard struct {
	mu     sync.Mutex
	report progress.Func
	total  int64
}

func (b *scoreboard) add(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += n
}

func (b *scoreboard) show(d ocispec.Descriptor, done int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Report(progress.Update{Step: "pull", Item: shortName(d), Done: done, Total: d.Size, Unit: progress.Bytes})
}

// follow returns what a writer of a blob calls for each chunk; people see no more than ten a second.
func (b *scoreboard) follow(d ocispec.Descriptor) func(int64) {
	const pause = 100 * time.Millisecond
	var last time.Time
	return func(done int64) {
		if now := time.Now(); now.Sub(last) >= pause {
			last = now
			b.show(d, done)
		}
	}
}

func shortName(d ocispec.Descriptor) string {
	const digits = 12
	hex := d.Digest.Encoded()
	return hex[:min(len(hex), digits)]
}
