// Package platform reads, writes and compares the platforms of images: "linux/arm64/v8". It is used on both sides of the image source contract,
// so that host and plugins agree on which manifest of an index is meant.
package platform

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
)

// isWord reports whether a text is what a part of a platform may look like.
func isWord(text string) bool {
	return text != "" && len(text) <= 32 && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == "" && !strings.ContainsRune("_.-", rune(text[0]))
}

// Default is what the host's VMs run: Linux on the host's architecture.
func Default() ocispec.Platform {
	return Normalize(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// Parse reads "os/arch[/variant]", "arch" or "os", in any of the usual spellings ("x86_64", "aarch64", "armhf"). An empty text is the default.
// Errors have the reason Invalid.
func Parse(text string) (ocispec.Platform, error) {
	if text == "" {
		return Default(), nil
	}
	parts := strings.Split(strings.ToLower(text), "/")
	p := Default()
	switch {
	case len(parts) == 1 && knownOS(parts[0]):
		p.OS = parts[0]
	case len(parts) == 1:
		p.Architecture, p.Variant = parts[0], ""
	case len(parts) == 2:
		p = ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	case len(parts) == 3:
		p = ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	default:
		return ocispec.Platform{}, invalid(text, "too many parts")
	}
	for _, part := range parts {
		if !isWord(part) {
			return ocispec.Platform{}, invalid(text, fmt.Sprintf("%q is not a name", part))
		}
	}
	if !knownOS(p.OS) {
		return ocispec.Platform{}, invalid(text, fmt.Sprintf("unknown operating system %q", p.OS))
	}
	p = Normalize(p)
	if len(parts) == 1 && !knownOS(parts[0]) && !knownArch(p.Architecture) {
		return ocispec.Platform{}, invalid(text, fmt.Sprintf("unknown architecture %q", p.Architecture))
	}
	if p.Architecture == "amd64" && p.Variant != "" {
		// Emulated and older processors have only v1, so an image of more would start and then die of an illegal instruction.
		return ocispec.Platform{}, invalid(text, fmt.Sprintf("amd64 has no variant %q here", p.Variant))
	}
	return p, nil
}

func invalid(text, cause string) error {
	return &fault.Error{Reason: fault.Invalid, Op: "read platform", Subject: text, Cause: fmt.Errorf("%s", cause),
		Hint: `write it like "linux/arm64"`}
}

func knownOS(os string) bool { return os == "linux" || os == "windows" || os == "darwin" }

func knownArch(arch string) bool {
	switch arch {
	case "amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x", "loong64", "mips64le", "mips64":
		return true
	}
	return false
}

// Normalize gives a platform its one spelling: OCI names, lower case, no variant where there is a usual one (arm64/v8 is arm64).
func Normalize(p ocispec.Platform) ocispec.Platform {
	p.OS = strings.ToLower(p.OS)
	p.Architecture = strings.ToLower(p.Architecture)
	p.Variant = strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	case "i386", "i486", "i586", "i686":
		p.Architecture = "386"
	}
	switch {
	case p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm64" && (p.Variant == "v8" || p.Variant == "8"):
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	case p.Architecture == "arm" && len(p.Variant) == 1:
		p.Variant = "v" + p.Variant
	}
	return p
}

// Format writes a platform as [Parse] reads it, in its one spelling. Parts that are no names, which only a hostile image has, become "?".
func Format(p ocispec.Platform) string {
	p = Normalize(p)
	parts := []string{p.OS, p.Architecture}
	if p.Variant != "" {
		parts = append(parts, p.Variant)
	}
	for i, part := range parts {
		if !isWord(part) {
			parts[i] = "?"
		}
	}
	return strings.Join(parts, "/")
}

// Known reports whether a platform says what a program needs to run. Indexes also list what is not an image (attestations) as "unknown/unknown".
func Known(p *ocispec.Platform) bool {
	return p != nil && p.OS != "" && p.OS != "unknown" && p.Architecture != "" && p.Architecture != "unknown"
}

// Match reports whether an image made for have runs where want is wanted, and how far it is from it: 0 is exact. Only 32-bit arm has
// a distance: each version runs programs of the ones before.
func Match(want, have ocispec.Platform) (distance int, ok bool) {
	want, have = Normalize(want), Normalize(have)
	if want.OS != have.OS || want.Architecture != have.Architecture {
		return 0, false
	}
	if want.Variant == have.Variant {
		return 0, true
	}
	if want.Architecture != "arm" || len(want.Variant) != 2 || len(have.Variant) != 2 || have.Variant < "v5" {
		return 0, false
	}
	distance = int(want.Variant[1]) - int(have.Variant[1])
	return distance, distance > 0
}

// Best returns the index of the descriptor that fits want best, the first of equals, or -1. Descriptors without a platform fit nothing.
func Best(want ocispec.Platform, among []ocispec.Descriptor) int {
	type fit struct{ index, distance int }
	var fits []fit
	for i, d := range among {
		if !Known(d.Platform) {
			continue
		}
		if distance, ok := Match(want, *d.Platform); ok {
			fits = append(fits, fit{i, distance})
		}
	}
	if len(fits) == 0 {
		return -1
	}
	return slices.MinFunc(fits, func(a, b fit) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.index, b.index))
	}).index
}

// Names lists the platforms of descriptors for an error message.
func Names(of []ocispec.Descriptor) string {
	const most = 20 // an index may list any number
	var names []string
	for _, d := range of {
		if !Known(d.Platform) {
			continue
		}
		name := Format(*d.Platform)
		if slices.Contains(names, name) {
			continue
		}
		if len(names) == most {
			names = append(names, "...")
			break
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
