// Package images is the host's store of images: an OCI layout whose index.json it owns, and whose blobs image sources write. It answers what a
// reference means without asking anyone but the disk, and believes no document there whose digest it has not checked. Any number of processes use one store.
//
// Two locks keep them apart. Whoever needs blobs that no reference names yet, as a pull does, holds use.lock shared ([Store.Hold]);
// whoever removes blobs holds it exclusively. index.lock is held for as long as it takes to rewrite index.json.
//
// Read store.go for references, image.go for what an image is, collect.go for what is removed, reference.go for how references are written.
package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource/transfer"
	"github.com/vzctl/vzctl/sdk/layout"
)

const (
	useLock   = "use.lock"
	indexLock = "index.lock"
	maxIndex  = 64 << 20 // bytes; a hundred thousand images

	// annotationSource names the plugin that an image came from.
	annotationSource = "io.vzctl.image.source"
)

// Store is the images under one directory.
type Store struct{ dir layout.Dir }

// Open makes the store at dir, an absolute path, unless it is there.
func Open(dir string) (*Store, error) {
	s := &Store{layout.Dir{Path: dir}}
	if !filepath.IsAbs(dir) {
		return nil, s.fault("open", fault.Invalid, errors.New("its path is not absolute"))
	}
	marker := filepath.Join(dir, ocispec.ImageLayoutFile)
	if _, err := os.Lstat(marker); err == nil {
		return s, nil
	}
	if err := os.MkdirAll(filepath.Join(dir, ocispec.ImageBlobsDir, digest.SHA256.String()), 0o700); err != nil {
		return nil, s.failed("open", err)
	}
	// The marker comes last: a store with it is whole.
	err := s.update(context.Background(), func(*ocispec.Index) error { return nil })
	if err == nil {
		err = writeFile(marker, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`))
	}
	if err != nil {
		return nil, s.failed("open", err)
	}
	return s, nil
}

// Path is the directory, an OCI layout for image sources and rootfs builders.
func (s *Store) Path() string { return s.dir.Path }

// Hold keeps all blobs until release is called, also those that no reference names: while an image is pulled and until it is added, and while
// something reads layers.
func (s *Store) Hold(ctx context.Context) (release func() error, err error) {
	l, err := lock.AcquireShared(ctx, s.file(useLock))
	if err != nil {
		return nil, s.failed("hold", err)
	}
	return l.Close, nil
}

// TryAlone keeps everybody who would hold the store out until release is called; ok is false, at once, if somebody holds it.
func (s *Store) TryAlone() (release func() error, ok bool, err error) {
	l, err := lock.Try(s.file(useLock))
	if errors.Is(err, lock.ErrHeld) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, s.failed("hold", err)
	}
	return l.Close, true, nil
}

// Add gives the image with this root the reference, in canonical form as an image source returns it, and takes it from the image that had it. The root must be in the
// layout. Source is the name of the plugin it came from.
func (s *Store) Add(ctx context.Context, reference string, root ocispec.Descriptor, source string) (err error) {
	canonical, err := Canonical(reference)
	if err != nil {
		return err
	}
	release, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	raw, err := s.dir.Read(root)
	if err != nil {
		return err
	}
	mediaType, err := transfer.MediaTypeOf(raw, root.MediaType)
	if err != nil {
		return err
	}
	entry := ocispec.Descriptor{MediaType: mediaType, Digest: root.Digest, Size: root.Size, Annotations: map[string]string{
		ocispec.AnnotationRefName: canonical, annotationSource: source,
	}}
	return s.update(ctx, func(index *ocispec.Index) error {
		for i, e := range index.Manifests {
			if e.Annotations[ocispec.AnnotationRefName] == canonical {
				index.Manifests[i] = entry
				return nil
			}
		}
		index.Manifests = append(index.Manifests, entry)
		return nil
	})
}

// entries returns what index.json lists. It is replaced in one step, so reading it needs no lock.
func (s *Store) entries() ([]ocispec.Descriptor, error) {
	f, err := os.Open(s.file(ocispec.ImageIndexFile))
	if err != nil {
		return nil, s.failed("read", err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, s.failed("read", err)
	}
	if len(raw) > maxIndex {
		return nil, s.fault("read", fault.Internal, errors.New("its index.json is too large"))
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, s.fault("read", fault.Internal, fmt.Errorf("its index.json is damaged: %w", err))
	}
	return index.Manifests, nil
}

// update rewrites index.json, alone.
func (s *Store) update(ctx context.Context, change func(*ocispec.Index) error) (err error) {
	held, err := lock.Acquire(ctx, s.file(indexLock))
	if err != nil {
		return s.failed("change", err)
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	index.Manifests, err = s.entries()
	switch {
	case errors.Is(err, os.ErrNotExist):
		index.Manifests = []ocispec.Descriptor{} // a new store; not null in JSON
	case err != nil:
		return err
	}
	if err := change(&index); err != nil {
		return err
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return s.failed("change", err)
	}
	if err := writeFile(s.file(ocispec.ImageIndexFile), raw); err != nil {
		return s.failed("change", err)
	}
	return nil
}

// writeFile replaces a file in one step that outlives a power cut. Only one process does so at a time.
func writeFile(path string, raw []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (s *Store) file(name string) string { return filepath.Join(s.dir.Path, name) }

// failed gives an error of the operating system its reason.
func (s *Store) failed(op string, err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return s.fault(op, reasonOf(err), err)
}

func (s *Store) fault(op string, reason fault.Reason, err error) error {
	e := &fault.Error{Reason: reason, Op: op + " image store", Subject: s.dir.Path, Cause: err}
	switch reason {
	case fault.NoSpace:
		e.Hint = "free some space"
	case fault.PermissionDenied:
		e.Hint = "choose another place with --root"
	}
	return e
}
