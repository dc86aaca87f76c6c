package images

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Canonical completes what a user typed: "busybox" is "docker.io/library/busybox:latest", of tag and digest the digest stays, and a reference that
// begins like a path ("/", "./", "../") is made absolute. That must happen here: image sources run in another directory. Errors have the reason
// Invalid.
func Canonical(text string) (string, error) {
	if isPath(text) {
		path, version := splitPath(text)
		absolute, err := filepath.Abs(path)
		if err != nil {
			return "", &fault.Error{Reason: fault.Invalid, Op: "read reference", Subject: text, Cause: err}
		}
		return absolute + version, nil
	}
	named, err := reference.ParseDockerRef(text)
	if err != nil {
		return "", &fault.Error{Reason: fault.Invalid, Op: "read reference", Subject: text, Cause: err,
			Hint: `write it like "name:tag", "registry.example.com/name:tag" or "./path:tag"`}
	}
	return named.String(), nil
}

// Familiar shortens a canonical reference to what people write.
func Familiar(canonical string) string {
	if isPath(canonical) {
		return canonical
	}
	named, err := reference.ParseNormalizedNamed(canonical)
	if err != nil {
		return canonical
	}
	return reference.FamiliarString(named)
}

func isPath(text string) bool {
	return text == "." || text == ".." || strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../")
}

var tag = regexp.MustCompile(`^` + reference.TagRegexp.String() + `$`)

// splitPath takes the tag or digest off a path, with the sign before it. With both, the digest stays.
func splitPath(text string) (path, version string) {
	path = text
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		if _, err := digest.Parse(text[at+1:]); err == nil {
			path, version = text[:at], text[at:]
		}
	}
	colon := strings.LastIndexByte(path, ':')
	if colon <= strings.LastIndexByte(path, '/') || !tag.MatchString(path[colon+1:]) {
		return path, version
	}
	if version == "" {
		version = path[colon:]
	}
	return path[:colon], version
}
