package containerlog

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"time"
)

// scanner takes one file of a log apart. It can go on after io.EOF if the file has grown.
type scanner struct {
	path         string
	in           *bufio.Reader
	since, until time.Time

	at   int64  // of the present record
	now  header // of which so many bytes are still to come:
	left int
}

func newScanner(f *os.File, path string, options Options) *scanner {
	return &scanner{path: path, in: bufio.NewReaderSize(f, 256<<10), since: options.Since, until: options.Until}
}

// next returns bytes of one stream, valid until the next call; none of a record that is not asked for. There is no error but io.EOF, one of reading and *CorruptError.
func (s *scanner) next() (Stream, []byte, error) {
	if s.left == 0 {
		b, err := s.in.Peek(headerSize)
		if err != nil {
			return 0, nil, err
		}
		h, ok := decodeHeader(b)
		if !ok {
			return 0, nil, &CorruptError{s.path, s.at}
		}
		_, _ = s.in.Discard(headerSize) // has been peeked
		s.now, s.left = h, h.length
	}
	if s.in.Buffered() == 0 {
		if _, err := s.in.Peek(1); err != nil {
			return 0, nil, err
		}
	}
	piece, _ := s.in.Peek(min(s.left, s.in.Buffered()))
	_, _ = s.in.Discard(len(piece))
	s.left -= len(piece)
	if s.left == 0 {
		s.at += headerSize + int64(s.now.length)
	}
	if s.now.time.Before(s.since) || !s.until.IsZero() && s.now.time.After(s.until) {
		piece = nil
	}
	return s.now.stream, piece, nil
}

// countLines of what a file has from its beginning, which is where it is left. open says that it ends in the middle of a line, empty that there is nothing.
func countLines(f *os.File, path string, options Options) (lines int, open, empty bool, err error) {
	s := newScanner(f, path, options)
	empty = true
	for {
		_, piece, err := s.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, false, false, err
		}
		if len(piece) > 0 {
			lines += bytes.Count(piece, []byte{'\n'})
			open, empty = piece[len(piece)-1] != '\n', false
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return lines, open, empty, err
}

// stamper writes the time before each line of one stream.
type stamper struct {
	to     io.Writer
	within bool // a line
	line   []byte
}

// stampFormat is Docker's: of one length, so that lines are in one column.
const stampFormat = "2006-01-02T15:04:05.000000000Z07:00"

func (s *stamper) write(piece []byte, at time.Time) error {
	s.line = s.line[:0]
	for len(piece) > 0 {
		if !s.within {
			s.line = append(at.UTC().AppendFormat(s.line, stampFormat), ' ')
		}
		end := bytes.IndexByte(piece, '\n') + 1
		s.within = end == 0
		if s.within {
			end = len(piece)
		}
		s.line, piece = append(s.line, piece[:end]...), piece[end:]
	}
	_, err := s.to.Write(s.line)
	return err
}
