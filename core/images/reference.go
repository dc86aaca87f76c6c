package images

import (
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Canonical completes what a user typed: "busybox" is "docker.io/library/busybox:latest", of tag and digest the digest stays, and a reference that
// begins like a path ("/", "./", "../") is made absolute. That must happen here: image sources run in another directory. Errors have the reason
// Invalid.
func Canonical(text string) (string, error) {
	if isPath(text) {
		return canonicalPath(text)
	}
	n, err := parseNamed(text)
	if err != nil {
		return "", &fault.Error{Reason: fault.Invalid, Op: "read reference", Subject: text, Cause: err,
			Hint: `write it like "name:tag", "registry.example.com/name:tag" or "./path:tag"`}
	}
	return n.canonical, nil
}

// Familiar shortens a canonical reference to what people write.
func Familiar(canonical string) string {
	if isPath(canonical) {
		return canonical
	}
	n, err := parseNamed(canonical)
	if err != nil {
		return canonical
	}
	return n.familiar()
}

func isPath(text string) bool {
	for _, start := range []string{".", ".."} {
		rest, ok := strings.CutPrefix(text, start)
		if ok && (rest == "" || strings.ContainsRune("/:@", rune(rest[0]))) {
			return true
		}
	}
	return strings.HasPrefix(text, "/")
}

// canonicalPath reads paths as the image source oci-layout does: a tag or digest follows the path, and with both the digest stays.
func canonicalPath(text string) (string, error) {
	path, version := text, ""
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		if _, err := digest.Parse(text[at+1:]); err == nil {
			path, version = text[:at], text[at:]
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", &fault.Error{Reason: fault.Invalid, Op: "read reference", Subject: text, Cause: err}
	}
	for {
		colon := strings.LastIndexByte(path, ':')
		if colon <= strings.LastIndexByte(path, '/') || !isTag(path[colon+1:]) {
			return path + version, nil
		}
		before := filepath.Clean(path[:colon])
		if version == "" {
			return before + path[colon:], nil
		}
		path = before
	}
}
