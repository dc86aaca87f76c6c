// Package transfer does what all image sources have in common: it walks from what a reference names to the manifests of the wanted platforms,
// and brings those with their configurations and layers into an OCI layout. Where bytes come from is an [Origin].
// Nothing an origin says is believed: sizes, digests and media types are checked here.
//
// Read walk.go for how manifests are chosen, pull.go for how blobs are brought.
package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Origin is where an image is. Its methods are called by several goroutines at once.
type Origin interface {
	// Document returns a manifest, index or configuration. The caller checks it.
	Document(ctx context.Context, of ocispec.Descriptor) ([]byte, error)
	// Blob opens a layer. The caller reads what it checks, and closes it.
	Blob(ctx context.Context, of ocispec.Descriptor) (io.ReadCloser, error)
}

// Media types of Docker that mean the same as OCI's.
const (
	MediaTypeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaTypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	mediaTypeDockerV1       = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeDockerV1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// ManifestTypes are the media types of indexes and manifests that are understood.
func ManifestTypes() []string {
	return []string{ocispec.MediaTypeImageIndex, MediaTypeDockerIndex, ocispec.MediaTypeImageManifest, MediaTypeDockerManifest}
}

const (
	maxLayers    = 1000
	maxManifests = 1000
)

// IsIndex reports whether a media type is that of an index.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == MediaTypeDockerIndex
}

// IsManifest reports whether a media type is that of an image's manifest.
func IsManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == MediaTypeDockerManifest
}

// MediaTypeOf says what a root document is, given what its server calls it. An unknown document is refused with what it seems to be.
func MediaTypeOf(raw []byte, called string) (string, error) {
	var says struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(raw, &says); err != nil {
		return "", notAManifest(raw, called)
	}
	if says.SchemaVersion == 1 || called == mediaTypeDockerV1 || called == mediaTypeDockerV1Signed {
		return "", &fault.Error{Reason: fault.Unsupported, Op: "read manifest", Cause: fmt.Errorf("it has the outdated form \"schema 1\""),
			Hint: "push the image again with a current tool"}
	}
	// The two shapes must not be mixed up: one document read as both is how checks are passed by one thing and another is run.
	isIndex, isManifest := says.Manifests != nil, says.Config != nil || says.Layers != nil
	mediaType := says.MediaType
	if mediaType == "" {
		mediaType = called // optional in OCI
	}
	switch {
	case isIndex && !isManifest && IsIndex(mediaType), isManifest && !isIndex && IsManifest(mediaType):
		return mediaType, nil
	case isIndex && !isManifest && says.MediaType == "":
		return ocispec.MediaTypeImageIndex, nil
	case isManifest && !isIndex && says.MediaType == "":
		return ocispec.MediaTypeImageManifest, nil
	case IsIndex(mediaType) || IsManifest(mediaType) || mediaType == "" || !isIndex && !isManifest:
		return "", notAManifest(raw, called)
	}
	return "", unsupported("the manifest", mediaType)
}

func notAManifest(raw []byte, called string) error {
	cause := fmt.Errorf("the answer is not an image manifest")
	start := strings.ToLower(strings.TrimSpace(string(raw[:min(len(raw), 64)])))
	switch {
	case strings.HasPrefix(called, "text/html"), strings.HasPrefix(start, "<!doctype html"), strings.HasPrefix(start, "<html"):
		cause = fmt.Errorf("the answer is an HTML page, not an image manifest")
	case called != "" && !IsIndex(called) && !IsManifest(called):
		cause = fmt.Errorf("the answer is not an image manifest but %s", Quote(called))
	}
	return &fault.Error{Reason: fault.Unavailable, Op: "read manifest", Cause: cause,
		Hint: "check the reference, and that no proxy or login page answers instead of a registry"}
}

func unsupported(what, mediaType string) error {
	return &fault.Error{Reason: fault.Unsupported, Op: "read manifest",
		Cause: fmt.Errorf("%s has the media type %s", what, Quote(mediaType)), Hint: "only images of Linux containers can be pulled"}
}

// Quote makes a text from a stranger fit to be shown: one line, no control characters, not long.
func Quote(text string) string {
	const most = 200
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strconv.QuoteToASCII(text)
}
