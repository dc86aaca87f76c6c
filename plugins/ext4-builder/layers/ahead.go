package layers

import (
	"context"
	"io"
)

const (
	aheadChunk = 256 << 10
	aheadDepth = 8 // chunks
)

// aheadReader reads from a source in a goroutine of its own, a bounded number
// of chunks ahead of its reader.
type aheadReader struct {
	ctx     context.Context
	chunks  chan []byte
	free    chan []byte
	err     error  // why chunks was closed
	current []byte // what is left of the last chunk
	whole   []byte // that chunk, to be given back
}

// readAhead starts reading src. Each chunk is written to sum, if any, before
// the reader sees it. The goroutine ends with src or with ctx.
func readAhead(ctx context.Context, src io.Reader, sum io.Writer) *aheadReader {
	a := &aheadReader{ctx: ctx, chunks: make(chan []byte, aheadDepth), free: make(chan []byte, aheadDepth+2)}
	go a.run(src, sum)
	return a
}

func (a *aheadReader) run(src io.Reader, sum io.Writer) {
	defer close(a.chunks)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		default:
			buf = make([]byte, aheadChunk)
		}
		n, err := fill(src, buf)
		if sum != nil && n > 0 {
			if _, err := sum.Write(buf[:n]); err != nil {
				a.err = err
				return
			}
		}
		if n > 0 {
			select {
			case a.chunks <- buf[:n]:
			case <-a.ctx.Done():
				a.err = a.ctx.Err()
				return
			}
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// fill reads until buf is full or src fails. Unlike io.ReadFull it keeps src's own
// error, so that an end is not mistaken for an unexpected one.
func fill(src io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = src.Read(buf[n:])
		n += m
	}
	return n, err
}

// Read implements io.Reader.
func (a *aheadReader) Read(p []byte) (int, error) {
	if len(a.current) == 0 {
		if a.whole != nil {
			a.free <- a.whole[:cap(a.whole)] // never blocks: it has room for all chunks there are
			a.whole = nil
		}
		select {
		case chunk, ok := <-a.chunks:
			if !ok {
				return 0, a.err
			}
			a.current, a.whole = chunk, chunk
		case <-a.ctx.Done():
			return 0, a.ctx.Err()
		}
	}
	n := copy(p, a.current)
	a.current = a.current[n:]
	return n, nil
}

// wait blocks until the goroutine has ended; its context is done by then.
func (a *aheadReader) wait() {
	for range a.chunks {
		continue
	}
}
