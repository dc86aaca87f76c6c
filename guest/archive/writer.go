// Package archive turns trees of files into tar and back. Both sides of a copy use it: the guest beside a container's processes, the host with what a guest
// sends. Nothing is ever read or written outside of the os.Root it is given; neither side trusts the other's names, links or sizes.
//
// writer.go is the format, pack.go reads trees, extract.go writes them. Reading the format is archive/tar's business; that cannot write holes, so writing is ours.
package archive

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Header is an entry of a tar.
type Header struct {
	Name   string // a directory's ends with a slash
	Type   byte   // as archive/tar's Type constants
	Mode   uint32 // permissions, and the bits for set-user-id, set-group-id and sticky
	UID    int
	GID    int
	Size   int64 // of the file, holes included
	Time   time.Time
	Link   string
	Major  uint32
	Minor  uint32
	Xattrs map[string]string
	// Data are the parts of a regular file that are no holes, in order; nil: all of it. Only those are written behind the header.
	Data []Segment
}

// Segment is a part of a file.
type Segment struct{ Offset, Length int64 }

// Writer writes a tar in the POSIX (pax) format. It keeps nothing between entries, and is not safe for use by several goroutines.
type Writer struct {
	// OwnHoles has holes be written as only Extract reads them: it can skip them. Otherwise they are in GNU tar's format 1.0, and reading them takes as long as if
	// they were data.
	OwnHoles bool

	w       io.Writer
	left    int64 // to be written of this entry
	padding int
}

// NewWriter returns a writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

const (
	blockSize  = 512
	nameSize   = 100
	xattrKey   = "SCHILY.xattr."
	ownSize    = "VZCTL.size"
	ownMap     = "VZCTL.data"
	maxOctal7  = 1<<21 - 1
	maxOctal11 = 1<<33 - 1
)

// Next ends the entry before and begins one. Its bytes go to Write: as many as Size, or as Data has in all.
func (w *Writer) Next(h Header) error {
	if err := w.finish(); err != nil {
		return err
	}
	records := map[string]string{}
	stored, sparse := h.Size, ""
	if h.Data != nil {
		stored = 0
		for _, s := range h.Data {
			stored += s.Length
		}
		size := strconv.FormatInt(h.Size, 10)
		if w.OwnHoles {
			records[ownSize], records[ownMap] = size, strings.Join(numbers(h.Data), " ")
		} else {
			sparse = sparseMap(h.Data, h.Size)
			records["GNU.sparse.major"], records["GNU.sparse.minor"] = "1", "0"
			records["GNU.sparse.name"], records["GNU.sparse.realsize"] = h.Name, size
		}
	}
	for name, value := range h.Xattrs {
		records[xattrKey+name] = value
	}
	size := stored + int64(len(sparse))
	block := h.block(size, records)
	if len(records) > 0 {
		if err := w.records(records); err != nil {
			return err
		}
	}
	if _, err := w.w.Write(block); err != nil {
		return err
	}
	if sparse != "" {
		if _, err := io.WriteString(w.w, sparse); err != nil {
			return err
		}
	}
	w.left, w.padding = stored, padding(size)
	return nil
}

// block is the header in the form of ustar; what does not fit goes into records.
func (h *Header) block(size int64, records map[string]string) []byte {
	block := make([]byte, blockSize)
	text := func(at, length int, value, key string) {
		if copy(block[at:at+length], value) < len(value) {
			records[key] = value
		}
	}
	number := func(at, length int, value, most int64, key string) {
		if value < 0 || value > most {
			records[key], value = strconv.FormatInt(value, 10), 0
		}
		copy(block[at:], fmt.Sprintf("%0*o", length-1, value))
	}
	text(0, nameSize, h.Name, "path")
	number(100, 8, int64(h.Mode), maxOctal7, "")
	number(108, 8, int64(h.UID), maxOctal7, "uid")
	number(116, 8, int64(h.GID), maxOctal7, "gid")
	number(124, 12, size, maxOctal11, "size")
	seconds := h.Time.Unix()
	if h.Time.Nanosecond() != 0 || seconds < 0 || seconds > maxOctal11 {
		records["mtime"] = decimal(h.Time)
	}
	number(136, 12, min(max(seconds, 0), maxOctal11), maxOctal11, "")
	block[156] = h.Type
	text(157, nameSize, h.Link, "linkpath")
	copy(block[257:], "ustar\x0000")
	number(329, 8, int64(h.Major), maxOctal7, "SCHILY.devmajor")
	number(337, 8, int64(h.Minor), maxOctal7, "SCHILY.devminor")
	copy(block[148:156], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

// decimal writes a time as pax does: seconds, and a fraction that counts from there downwards before 1970.
func decimal(t time.Time) string {
	seconds, nanoseconds, sign := t.Unix(), t.Nanosecond(), ""
	if seconds < 0 && nanoseconds > 0 {
		seconds, nanoseconds = seconds+1, 1e9-nanoseconds
	}
	if t.Unix() < 0 {
		seconds, sign = -seconds, "-"
	}
	return sign + strings.TrimRight(fmt.Sprintf("%d.%09d", seconds, nanoseconds), "0")
}

// records writes the entry that adds to the one after it.
func (w *Writer) records(records map[string]string) error {
	var body strings.Builder
	for _, key := range slices.Sorted(maps.Keys(records)) {
		body.WriteString(record(key, records[key]))
	}
	h := Header{Name: "PaxHeader", Type: 'x', Mode: 0o644, Time: time.Unix(0, 0)}
	_, err := w.w.Write(h.block(int64(body.Len()), map[string]string{}))
	if err == nil {
		_, err = io.WriteString(w.w, body.String()+zeros(padding(int64(body.Len()))))
	}
	return err
}

// record is "length key=value\n", its own length in the length.
func record(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	length := len(rest) + len(strconv.Itoa(len(rest)))
	if digits := strconv.Itoa(length); len(digits)+len(rest) != length {
		length = len(digits) + len(rest)
	}
	return strconv.Itoa(length) + rest
}

// sparseMap lists the segments before the data, in whole blocks.
func sparseMap(data []Segment, size int64) string {
	if n := len(data); n == 0 || data[n-1].Offset+data[n-1].Length < size {
		data = append(slices.Clone(data), Segment{size, 0}) // so GNU tar knows of a hole at the end
	}
	text := strconv.Itoa(len(data)) + "\n" + strings.Join(numbers(data), "\n") + "\n"
	return text + zeros(padding(int64(len(text))))
}

// numbers are offset and length of each segment. A map without any would be an empty record, which takes a record away: it has an empty segment.
func numbers(data []Segment) (texts []string) {
	if len(data) == 0 {
		data = []Segment{{}}
	}
	for _, s := range data {
		texts = append(texts, strconv.FormatInt(s.Offset, 10), strconv.FormatInt(s.Length, 10))
	}
	return texts
}

// parseMap reads a map of our own, of a file of that size, whose data have so many bytes.
func parseMap(text string, size, stored int64) (data []Segment, err error) {
	fields := strings.Fields(text)
	end, sum := int64(0), int64(0)
	for len(fields) >= 2 {
		offset, err1 := strconv.ParseInt(fields[0], 10, 64)
		length, err2 := strconv.ParseInt(fields[1], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if offset < end || length < 0 || length > size-offset {
			return nil, errors.New("the parts of the file overlap, or are outside of it")
		}
		data, end, sum, fields = append(data, Segment{offset, length}), offset+length, sum+length, fields[2:]
	}
	if len(fields) != 0 || sum != stored {
		return nil, errors.New("the map of its holes does not fit its size")
	}
	return data, nil
}

func padding(size int64) int { return int(-size & (blockSize - 1)) }
func zeros(n int) string     { return strings.Repeat("\x00", n) }

// Write writes bytes of the entry.
func (w *Writer) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		return 0, errors.New("more bytes than the header says")
	}
	n, err := w.w.Write(p)
	w.left -= int64(n)
	return n, err
}

func (w *Writer) finish() error {
	if w.left > 0 {
		return fmt.Errorf("%d bytes of a file are missing", w.left)
	}
	_, err := io.WriteString(w.w, zeros(w.padding))
	w.padding = 0
	return err
}

// Close ends the tar, not what it was written to.
func (w *Writer) Close() error {
	if err := w.finish(); err != nil {
		return err
	}
	_, err := io.WriteString(w.w, zeros(2*blockSize))
	return err
}
