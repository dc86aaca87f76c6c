package images

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource/transfer"
	"github.com/vzctl/vzctl/sdk/platform"
)

// Remove takes a reference away, and then removes what none names any more. It returns how many bytes that freed: 0 while somebody holds the
// store, in which case the next Remove or Collect frees them. The reference may also be an id, if only one reference has it.
func (s *Store) Remove(ctx context.Context, reference string) (freed int64, err error) {
	canonical, err := s.removable(reference)
	if err != nil {
		return 0, err
	}
	err = s.update(ctx, func(index *ocispec.Index) error {
		before := len(index.Manifests)
		index.Manifests = slices.DeleteFunc(index.Manifests, func(d ocispec.Descriptor) bool {
			return d.Annotations[ocispec.AnnotationRefName] == canonical
		})
		if len(index.Manifests) == before {
			return notFound(reference) // removed by another meanwhile
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	held, err := lock.Try(s.file(useLock))
	if errors.Is(err, lock.ErrHeld) {
		return 0, nil
	}
	if err != nil {
		return 0, s.failed("collect", err)
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	return s.Collect()
}

// removable finds the one reference that is meant.
func (s *Store) removable(reference string) (string, error) {
	entries, err := s.entries()
	if err != nil {
		return "", err
	}
	if canonical, err := Canonical(reference); err == nil {
		for _, entry := range entries {
			if entry.Annotations[ocispec.AnnotationRefName] == canonical {
				return canonical, nil
			}
		}
	}
	image, err := s.byID(entries, reference, platform.Default())
	switch {
	case err != nil:
		return "", err
	case image == nil:
		return "", notFound(reference)
	}
	for _, entry := range entries {
		if entry.Digest == image.Root.Digest && entry.Annotations[ocispec.AnnotationRefName] != image.Reference {
			return "", &fault.Error{Reason: fault.FailedPrecondition, Op: "remove image", Subject: reference,
				Cause: errors.New("several names have it"), Hint: "remove them by name"}
		}
	}
	return image.Reference, nil
}

// Collect removes the blobs that no reference leads to and returns the bytes that freed. The caller has the store alone, see TryAlone.
func (s *Store) Collect() (freed int64, err error) {
	entries, err := s.entries()
	if err != nil {
		return 0, err
	}
	keep := map[digest.Digest]bool{}
	for _, entry := range entries {
		s.mark(keep, entry)
	}
	blobs := s.file(ocispec.ImageBlobsDir)
	algorithms, err := os.ReadDir(blobs)
	if err != nil {
		return 0, s.failed("collect", err)
	}
	var errs []error
	for _, algorithm := range algorithms {
		names, err := os.ReadDir(filepath.Join(blobs, algorithm.Name()))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, name := range names {
			d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm.Name()), name.Name())
			if keep[d] || d.Validate() != nil { // what is not a blob is not ours
				continue
			}
			size, err := remove(filepath.Join(blobs, algorithm.Name(), name.Name()))
			freed += size
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return freed, s.failed("collect", err)
	}
	return freed, s.dir.Prepare() // and what writers who died have left
}

// mark keeps what a descriptor leads to. A document that is damaged leads nowhere: its image has to be pulled again anyway.
func (s *Store) mark(keep map[digest.Digest]bool, d ocispec.Descriptor) {
	if keep[d.Digest] {
		return
	}
	keep[d.Digest] = true
	isIndex := transfer.IsIndex(d.MediaType)
	if !isIndex && !transfer.IsManifest(d.MediaType) {
		return
	}
	raw, err := s.dir.Read(d)
	if err != nil {
		return
	}
	if isIndex {
		var index ocispec.Index
		if json.Unmarshal(raw, &index) == nil {
			for _, m := range index.Manifests {
				s.mark(keep, m)
			}
		}
		return
	}
	var manifest ocispec.Manifest
	if json.Unmarshal(raw, &manifest) == nil {
		for _, child := range append(manifest.Layers, manifest.Config) {
			keep[child.Digest] = true
		}
	}
}

func remove(path string) (int64, error) {
	info, err := os.Lstat(path)
	if err != nil || info.IsDir() {
		return 0, err
	}
	if err := os.Remove(path); err != nil {
		return 0, err
	}
	return info.Size(), nil
}
