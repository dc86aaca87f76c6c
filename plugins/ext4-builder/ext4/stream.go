package ext4

import (
	"fmt"
	"io"
)

// streamBuffer is how much is collected before it is written.
const streamBuffer = 1 << 20

// blockStream writes blocks one after another through one large buffer.
type blockStream struct {
	out io.WriterAt
	buf []byte
	n   int    // bytes in buf, a multiple of blockSize
	at  uint64 // block number of buf[0]
}

func newBlockStream(out io.WriterAt, first uint64) *blockStream {
	return &blockStream{out: out, buf: make([]byte, streamBuffer), at: first}
}

// next is the number of the block that is written next.
func (s *blockStream) next() uint64 { return s.at + uint64(s.n/blockSize) }

// space returns n bytes of the buffer to be filled and then kept with advance.
func (s *blockStream) space(n int) ([]byte, error) {
	if len(s.buf)-s.n < n {
		if err := s.flush(); err != nil {
			return nil, err
		}
	}
	return s.buf[s.n : s.n+n], nil
}

func (s *blockStream) advance(n int) { s.n += n }

// write appends whole blocks and returns the number of the first.
func (s *blockStream) write(blocks []byte) (first uint64, err error) {
	first = s.next()
	for len(blocks) > 0 {
		n := min(len(blocks), streamBuffer/4)
		dst, err := s.space(n)
		if err != nil {
			return 0, err
		}
		copy(dst, blocks[:n])
		s.advance(n)
		blocks = blocks[n:]
	}
	return first, nil
}

func (s *blockStream) flush() error {
	if s.n == 0 {
		return nil
	}
	if _, err := s.out.WriteAt(s.buf[:s.n], int64(s.at)*blockSize); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	s.at, s.n = s.next(), 0
	return nil
}
