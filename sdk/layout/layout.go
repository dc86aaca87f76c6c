// Package layout reads and writes the blobs of an OCI image layout directory that several processes use at once. A blob has its name
// only when it is complete and checked; one being written is <layout>/ingest/<algorithm>-<hex>, locked by its writer, and belongs to
// nobody once that one is dead. The layout's index.json is not touched: it belongs to the host.
//
// Read write.go for how a blob comes to be.
package layout

import (
	_ "crypto/sha256" // what digests are made with
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/sdk/fault"
)

// MaxDocument is how large manifests, indexes and configurations may be, in bytes: they are held in memory. Registries accept no more.
const MaxDocument = 4 << 20

const (
	ingestDir = "ingest"
	dirMode   = 0o700 // images may hold what other users shall not see
	fileMode  = 0o600
)

// Dir is an OCI image layout directory.
type Dir struct{ Path string }

// Blob returns where the blob of a digest is, or will be.
func (d Dir) Blob(of digest.Digest) (string, error) {
	if err := checkDigest(of); err != nil {
		return "", err
	}
	return filepath.Join(d.Path, ocispec.ImageBlobsDir, of.Algorithm().String(), of.Encoded()), nil
}

// Prepare makes the directories for blobs, and removes what writers who died have left behind.
func (d Dir) Prepare() error {
	for _, name := range []string{filepath.Join(ocispec.ImageBlobsDir, "sha256"), ingestDir} {
		if err := os.MkdirAll(filepath.Join(d.Path, name), dirMode); err != nil {
			return pathError("prepare", d.Path, err)
		}
	}
	return d.clean()
}

// Read returns a small blob, checked. The size of the descriptor is not believed beyond MaxDocument.
func (d Dir) Read(of ocispec.Descriptor) ([]byte, error) {
	const op = "read blob"
	path, err := d.Blob(of.Digest)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(path)
	if err != nil {
		return nil, pathError(op, of.Digest.String(), err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, MaxDocument+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, pathError(op, of.Digest.String(), err)
	}
	if err := CheckDocument(of, raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// CheckDocument fails unless raw is the small blob that a descriptor describes.
func CheckDocument(of ocispec.Descriptor, raw []byte) error {
	if err := checkDigest(of.Digest); err != nil {
		return err
	}
	if len(raw) > MaxDocument {
		return &fault.Error{Reason: fault.Invalid, Op: "read blob", Subject: of.Digest.String(),
			Cause: fmt.Errorf("a %s of more than %d MiB", of.MediaType, MaxDocument>>20)}
	}
	if int64(len(raw)) != of.Size {
		return sizeMismatch(of, int64(len(raw)))
	}
	if got := of.Digest.Algorithm().FromBytes(raw); got != of.Digest {
		return digestMismatch(of, got)
	}
	return nil
}

// Has reports whether the blob is there. Small blobs are read and checked. Of larger ones only the size is: they were checked before they got
// their name and had reached the disk by then, whoever unpacks them checks them again, and reading gigabytes at each start would cost
// more than it finds.
func (d Dir) Has(of ocispec.Descriptor) (bool, error) {
	path, err := d.Blob(of.Digest)
	if err != nil {
		return false, err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, pathError("look for blob", of.Digest.String(), err)
	case !info.Mode().IsRegular() || info.Size() != of.Size:
		return false, nil
	case of.Size > MaxDocument:
		return true, nil
	}
	_, err = d.Read(of)
	if errors.Is(err, fault.DigestMismatch) || errors.Is(err, fault.NotFound) {
		return false, nil // as good as missing: it will be replaced
	}
	return err == nil, err
}

// Sync makes sure that the names of blobs outlive a power cut. Their bytes do from the start.
func (d Dir) Sync() error {
	blobs := filepath.Join(d.Path, ocispec.ImageBlobsDir)
	algorithms, err := os.ReadDir(blobs)
	if err != nil {
		return pathError("sync", d.Path, err)
	}
	for _, a := range algorithms {
		if !a.IsDir() {
			continue
		}
		dir, err := os.Open(filepath.Join(blobs, a.Name()))
		if err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
		if err != nil {
			return pathError("sync", d.Path, err)
		}
	}
	return nil
}

// openRegular opens a file to read, which must be one: opening a FIFO would wait for a writer.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func checkDigest(of digest.Digest) error {
	err := of.Validate()
	if err == nil && of.Algorithm() != digest.SHA256 && of.Algorithm() != digest.SHA512 {
		err = digest.ErrDigestUnsupported
	}
	if err != nil {
		return &fault.Error{Reason: fault.Invalid, Op: "read digest", Subject: shorten(of.String()), Cause: err}
	}
	return nil
}

// shorten keeps a hostile text out of an error's text.
func shorten(text string) string {
	const most = 80
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.Trim(strconv.QuoteToASCII(text), `"`)
}

func sizeMismatch(of ocispec.Descriptor, got int64) error {
	return &fault.Error{Reason: fault.DigestMismatch, Op: "check blob", Subject: of.Digest.String(),
		Cause: fmt.Errorf("has %d bytes, the manifest says %d", got, of.Size), Hint: "the image is damaged at its source"}
}

func digestMismatch(of ocispec.Descriptor, got digest.Digest) error {
	return &fault.Error{Reason: fault.DigestMismatch, Op: "check blob", Subject: of.Digest.String(),
		Cause: fmt.Errorf("content has the digest %s", got), Hint: "the image is damaged at its source or on the way"}
}

// pathError gives an error of the operating system its reason.
func pathError(op, subject string, err error) error {
	e := &fault.Error{Reason: fault.Internal, Op: op, Subject: subject, Cause: err}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		e.Reason, e.Cause, e.Hint = fault.NoSpace, errNoSpace, "free some space, for example with: vzctl image rm"
	case errors.Is(err, os.ErrNotExist):
		e.Reason = fault.NotFound
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EROFS):
		e.Reason = fault.PermissionDenied
	}
	return e
}

var errNoSpace = errors.New("no space left on the disk")
