package images

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/platform"
)

// DefaultPlatform is what images are chosen for if nobody says otherwise: Linux on the host's architecture.
func DefaultPlatform() ocispec.Platform { return platform.Default() }

// ParsePlatform reads "linux/arm64/v8" in any usual spelling; empty is the default. Errors have the reason Invalid.
func ParsePlatform(text string) (ocispec.Platform, error) { return platform.Parse(text) }

// FormatPlatform writes a platform in its one spelling: "linux/arm64".
func FormatPlatform(p ocispec.Platform) string { return platform.Format(p) }
