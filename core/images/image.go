package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource/transfer"
	"github.com/vzctl/vzctl/sdk/platform"
)

// Image is what a reference means for one platform.
type Image struct {
	Reference string // canonical
	Name      string // as people write it
	Source    string // plugin it came from
	ID        digest.Digest
	Root      ocispec.Descriptor // an index, or the manifest
	Manifest  ocispec.Descriptor // with its platform
	Config    ocispec.Image
	// Healthcheck is what the configuration has under that name, which OCI leaves to Docker; nil: nothing.
	Healthcheck json.RawMessage
	Platform    ocispec.Platform
	Layers      []ocispec.Descriptor
	Size        int64 // of the layers as stored, in bytes
	// Problem is why List cannot say more than what is before ID. Nil from Resolve.
	Problem error
}

// Resolve finds the image that a reference, a digest, or the unique beginning of one means, for a platform; the zero platform is the default. The
// digest may be that of the root, the manifest or the configuration. Layers are not looked at, see [Store.Verify]. Errors have the
// reasons NotFound, DigestMismatch if documents on the disk are damaged, and Invalid.
func (s *Store) Resolve(reference string, want ocispec.Platform) (Image, error) {
	if want.OS == "" && want.Architecture == "" {
		want = platform.Default()
	}
	entries, err := s.entries()
	if err != nil {
		return Image{}, err
	}
	canonical, nameErr := Canonical(reference)
	if nameErr == nil {
		for _, entry := range entries {
			if entry.Annotations[ocispec.AnnotationRefName] == canonical {
				return s.choose(entry, want)
			}
		}
	}
	image, err := s.byID(entries, reference, want)
	if err != nil {
		return Image{}, err
	}
	if image != nil {
		return *image, nil
	}
	if _, ok := idPrefix(reference); nameErr != nil && !ok {
		return Image{}, nameErr
	}
	return Image{}, notFound(reference)
}

func notFound(reference string) error {
	return &fault.Error{Reason: fault.NotFound, Op: "find image", Subject: reference, Cause: errors.New("it is not in the local store"),
		Hint: "pull it first"}
}

// choose takes the image for a platform from what an entry of index.json names.
func (s *Store) choose(entry ocispec.Descriptor, want ocispec.Platform) (Image, error) {
	manifests, err := s.manifests(entry)
	if err != nil {
		return Image{}, s.damaged(entry, err)
	}
	best := platform.Best(want, manifests)
	if best >= 0 {
		if have, err := s.dir.Has(manifests[best]); err != nil {
			return Image{}, s.damaged(entry, err)
		} else if have {
			image, err := s.load(entry, manifests[best])
			if err != nil {
				return Image{}, s.damaged(entry, err)
			}
			return image, nil
		}
	}
	e := &fault.Error{Reason: fault.NotFound, Op: "find image", Subject: Familiar(entry.Annotations[ocispec.AnnotationRefName]),
		Cause: fmt.Errorf("it has no manifest for %s, only for %s", platform.Format(want), platform.Names(manifests)),
		Hint:  "choose another with --platform"}
	if best >= 0 {
		e.Cause = fmt.Errorf("it was not pulled for %s", platform.Format(want))
		e.Hint = "pull it for that platform"
	}
	return Image{}, e
}

// manifests lists what an entry names, each with its platform as far as that can be known here.
func (s *Store) manifests(entry ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	all := []ocispec.Descriptor{{MediaType: entry.MediaType, Digest: entry.Digest, Size: entry.Size}}
	if transfer.IsIndex(entry.MediaType) {
		raw, err := s.dir.Read(entry)
		if err != nil {
			return nil, err
		}
		var index ocispec.Index
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, err
		}
		all = index.Manifests
	}
	var manifests []ocispec.Descriptor
	for _, d := range all {
		if !transfer.IsManifest(d.MediaType) || d.Platform != nil && !platform.Known(d.Platform) {
			continue
		}
		if d.Platform == nil { // what lists it says nothing; its configuration does, if it was pulled
			image, err := s.load(entry, d)
			switch {
			case err == nil:
				d.Platform = &image.Platform
			case d.Digest == entry.Digest || !errors.Is(err, fault.NotFound):
				return nil, err
			}
		}
		manifests = append(manifests, d)
	}
	return manifests, nil
}

// load reads a manifest and its configuration.
func (s *Store) load(entry, d ocispec.Descriptor) (Image, error) {
	image := s.named(entry)
	raw, err := s.dir.Read(d)
	if err != nil {
		return Image{}, err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return Image{}, err
	}
	if raw, err = s.dir.Read(manifest.Config); err != nil {
		return Image{}, err
	}
	if err := json.Unmarshal(raw, &image.Config); err != nil {
		return Image{}, err
	}
	if image.Healthcheck, err = healthcheck(raw); err != nil {
		return Image{}, err
	}
	image.ID, image.Manifest, image.Layers = manifest.Config.Digest, d, manifest.Layers
	image.Platform = platform.Normalize(image.Config.Platform)
	if platform.Known(d.Platform) {
		image.Platform = platform.Normalize(*d.Platform)
	}
	image.Manifest.Platform = &image.Platform
	for _, layer := range manifest.Layers {
		image.Size += layer.Size
	}
	return image, nil
}

// healthcheck of a configuration. Most have none, and need not be read twice.
func healthcheck(config []byte) (json.RawMessage, error) {
	if !bytes.Contains(config, []byte(`"Healthcheck"`)) {
		return nil, nil
	}
	var outer struct {
		Config struct{ Healthcheck json.RawMessage } `json:"config"`
	}
	err := json.Unmarshal(config, &outer)
	return outer.Config.Healthcheck, err
}

func (s *Store) named(entry ocispec.Descriptor) Image {
	reference := entry.Annotations[ocispec.AnnotationRefName]
	root := entry
	root.Annotations = nil
	return Image{Reference: reference, Name: Familiar(reference), Source: entry.Annotations[annotationSource], Root: root}
}

// damaged wraps what is wrong with an image that is listed.
func (s *Store) damaged(entry ocispec.Descriptor, err error) error {
	return &fault.Error{Reason: reasonOf(err), Op: "read image", Subject: Familiar(entry.Annotations[ocispec.AnnotationRefName]), Cause: err,
		Hint: "pull it again"}
}

// List returns all images in order of their names, one for each platform that was pulled. An image that cannot be read has a Problem.
func (s *Store) List() ([]Image, error) {
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	images := []Image{}
	for _, entry := range entries {
		images = append(images, s.all(entry)...)
	}
	slices.SortStableFunc(images, func(a, b Image) int { return strings.Compare(a.Reference, b.Reference) })
	return images, nil
}

// all returns the images of an entry that are on the disk.
func (s *Store) all(entry ocispec.Descriptor) []Image {
	problem := func(err error) []Image {
		image := s.named(entry)
		image.Problem = s.damaged(entry, err)
		return []Image{image}
	}
	manifests, err := s.manifests(entry)
	if err != nil {
		return problem(err)
	}
	var images []Image
	for _, d := range manifests {
		if have, err := s.dir.Has(d); err != nil || !have {
			continue
		}
		image, err := s.load(entry, d)
		if err != nil {
			return problem(err)
		}
		images = append(images, image)
	}
	if len(images) == 0 {
		return problem(&fault.Error{Reason: fault.NotFound, Op: "read manifest", Subject: entry.Digest.String(), Cause: errors.New("it is missing")})
	}
	return images
}

// Verify fails with the reason NotFound and the names of what is missing unless all layers of an image are there.
func (s *Store) Verify(image Image) error {
	var missing []string
	for _, layer := range image.Layers {
		have, err := s.dir.Has(layer)
		if err != nil {
			return err
		}
		if !have {
			missing = append(missing, layer.Digest.String())
		}
	}
	if missing == nil {
		return nil
	}
	return &fault.Error{Reason: fault.NotFound, Op: "check image", Subject: image.Name,
		Cause: fmt.Errorf("layers are missing: %s", strings.Join(missing, ", ")), Hint: "pull it again"}
}

func reasonOf(err error) fault.Reason {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.NoSpace
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.PermissionDenied
	}
	return fault.ReasonOf(err)
}
