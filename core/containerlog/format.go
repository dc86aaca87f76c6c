// Package containerlog keeps what a container writes to its standard output and error: every byte, the streams apart, each piece with the time
// it came. It does not know containers; a log is a file.
//
// A log is a sequence of records, each a header of 16 bytes, little endian, and the bytes of one piece:
//
//	0   1  stream: 1 output, 2 error
//	1   3  zero
//	4   4  length of the piece, at most 1 MiB
//	8   8  time, nanoseconds since 1970
//
// A writer holds the file's lock (flock) for its life; that is how a follower learns that no more will come, however the writer ends.
//
// A log is bounded: one that is full is put aside as <path>.<number>, the highest number being the newest, and the oldest of them is removed when there are too
// many. A record lies in one file. There is a file at the path itself at every moment.
//
// Read format.go, then writer.go with rotate.go, and replay.go with follow.go.
package containerlog

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Stream of a container.
type Stream uint8

// The streams.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

const (
	headerSize = 16
	maxPiece   = 1 << 20
)

// CorruptError tells that a file is not a log, or was damaged.
type CorruptError struct {
	Path   string
	Offset int64 // of the record that makes no sense
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("log %q is damaged at byte %d", e.Path, e.Offset)
}

type header struct {
	stream Stream
	length int
	time   time.Time
}

func (h header) encode(b *[headerSize]byte) {
	*b = [headerSize]byte{byte(h.stream)}
	binary.LittleEndian.PutUint32(b[4:], uint32(h.length))
	binary.LittleEndian.PutUint64(b[8:], uint64(h.time.UnixNano()))
}

// decodeHeader reports whether b can be a header.
func decodeHeader(b []byte) (header, bool) {
	h := header{stream: Stream(b[0]), time: time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:])))}
	length := binary.LittleEndian.Uint32(b[4:])
	h.length = int(length)
	return h, (h.stream == Stdout || h.stream == Stderr) && b[1]|b[2]|b[3] == 0 && length > 0 && length <= maxPiece
}
