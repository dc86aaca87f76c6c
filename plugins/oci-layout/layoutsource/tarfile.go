package layoutsource

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
)

// maxEntries of a tar; a layout has one for each blob.
const maxEntries = 100_000

// tarFile is a layout in a tar. Nothing is extracted: an index of names leads to where in the file a blob's bytes are, and each is read from there.
type tarFile struct {
	file    *os.File
	entries map[string]span
}

// span is a part of the file, in bytes.
type span struct{ offset, size int64 }

// indexTar reads the headers of a tar of the given size. On success the file belongs to the result.
func indexTar(f *os.File, size int64) (*tarFile, error) {
	entries, err := index(f, size)
	if err != nil {
		return nil, err
	}
	return &tarFile{f, entries}, nil
}

// index finds the files of a layout in a tar. Whatever else there is, links and names that lead elsewhere too, is passed over.
func index(file io.ReaderAt, size int64) (map[string]span, error) {
	invalid := func(reason fault.Reason, cause error, hint string) error {
		return &fault.Error{Reason: reason, Op: "read tar", Cause: cause, Hint: hint}
	}
	section := io.NewSectionReader(file, 0, size)
	start := make([]byte, 6)
	if n, err := io.ReadFull(section, start); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	} else if name := compression(start[:n]); name != "" {
		// Blobs in it could not be found without unpacking all before them, for each.
		return nil, invalid(fault.Unsupported, fmt.Errorf("it is compressed with %s", name), "unpack it first")
	}
	if _, err := section.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	entries := map[string]span{}
	reader := tar.NewReader(section)
	for count := 0; ; count++ {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, invalid(fault.Invalid, fmt.Errorf("it is damaged or no tar: %w", err), "give an OCI image layout, a directory or a tar of one")
		}
		if count == maxEntries {
			return nil, invalid(fault.Invalid, fmt.Errorf("it has more than %d entries", maxEntries), "")
		}
		name := path.Clean(header.Name)
		if header.Typeflag != tar.TypeReg || !ofLayout(name) || sparse(header) {
			continue
		}
		// The reader of a tar reads blocks of headers, so after one the file stands at its content.
		offset, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if header.Size < 0 || header.Size > size-offset {
			return nil, invalid(fault.Invalid, fmt.Errorf("it ends in the middle of %q", name), "it was not copied whole")
		}
		entries[name] = span{offset, header.Size}
	}
}

func compression(start []byte) string {
	for name, magic := range map[string]string{"gzip": "\x1f\x8b", "zstd": "\x28\xb5\x2f\xfd", "xz": "\xfd7zXZ", "bzip2": "BZh"} {
		if bytes.HasPrefix(start, []byte(magic)) {
			return name
		}
	}
	return ""
}

// ofLayout reports whether a cleaned name is that of a file in a layout.
func ofLayout(name string) bool {
	return name == ocispec.ImageLayoutFile || name == ocispec.ImageIndexFile || name == "manifest.json" ||
		strings.HasPrefix(name, ocispec.ImageBlobsDir+"/") && strings.Count(name, "/") == 2
}

// sparse entries are not stored as they are read. No blob needs to be one.
func sparse(header *tar.Header) bool {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (t *tarFile) open(name string) (io.ReadCloser, error) {
	at, ok := t.entries[name]
	if !ok {
		return nil, &os.PathError{Op: "find in tar", Path: name, Err: os.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(t.file, at.offset, at.size)), nil
}

func (t *tarFile) close() { _ = t.file.Close() } // nothing was written
