package images

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/platform"
)

// shortestID is how many digits of a digest are taken for one, if no image has them as its name.
const shortestID = 4

// idPrefix returns the digits of what may be the beginning of a digest.
func idPrefix(text string) (string, bool) {
	prefix := strings.TrimPrefix(strings.ToLower(text), digest.SHA256.String()+":")
	return prefix, len(prefix) >= shortestID && strings.Trim(prefix, "0123456789abcdef") == ""
}

// byID finds the image whose digest begins with id, nil if there is none. The digest of a manifest or configuration says its platform, that of an
// index leaves the choice.
func (s *Store) byID(entries []ocispec.Descriptor, id string, want ocispec.Platform) (*Image, error) {
	prefix, ok := idPrefix(id)
	if !ok {
		return nil, nil
	}
	begins := func(d digest.Digest) bool { return d.Validate() == nil && strings.HasPrefix(d.Encoded(), prefix) }
	var exact, fitting []Image
	for _, entry := range entries {
		for _, image := range s.all(entry) {
			if image.Problem != nil {
				continue
			}
			_, fits := platform.Match(want, image.Platform)
			switch {
			case begins(image.ID) || begins(image.Manifest.Digest):
				exact = append(exact, image)
			case begins(image.Root.Digest) && fits:
				fitting = append(fitting, image)
			}
		}
	}
	all := append(exact, fitting...)
	if len(all) == 0 {
		return nil, nil
	}
	for _, image := range all {
		// One image may have several names, and one index several images that fit.
		same := image.Manifest.Digest == all[0].Manifest.Digest
		if !same && (len(exact) > 0 || image.Root.Digest != all[0].Root.Digest) {
			return nil, &fault.Error{Reason: fault.Invalid, Op: "find image", Subject: id,
				Cause: fmt.Errorf("%s and %s begin with it", all[0].Name, image.Name), Hint: "give more digits"}
		}
	}
	manifests := make([]ocispec.Descriptor, len(all))
	for i, image := range all {
		manifests[i] = image.Manifest
	}
	if best := platform.Best(want, manifests); best >= 0 {
		return &all[best], nil
	}
	return &all[0], nil
}
