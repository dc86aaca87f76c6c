package layoutsource

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk/fault"
)

// reference is a layout and which image of it is meant.
type reference struct {
	path   string
	tag    string
	digest digest.Digest // wins over the tag
}

// tagShape is that of tags in registries.
var tagShape = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

func parseReference(text string) (reference, error) {
	invalid := func(cause, hint string) (reference, error) {
		return reference{}, &fault.Error{Reason: fault.Invalid, Op: "read reference", Subject: text, Cause: errors.New(cause), Hint: hint}
	}
	if !filepath.IsAbs(text) {
		return invalid("the path is not absolute", `write it like "./directory:tag" or "/directory:tag"`)
	}
	if strings.ContainsRune(text, 0) {
		return invalid("the path has a zero byte", "")
	}
	r := reference{path: text}
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		if d, err := digest.Parse(text[at+1:]); err == nil {
			r.path, r.digest = text[:at], d
		}
	}
	r.path = filepath.Clean(r.path)
	for {
		// A colon in a directory's name above is no tag.
		colon := strings.LastIndexByte(r.path, ':')
		if colon <= strings.LastIndexByte(r.path, '/') || !tagShape.MatchString(r.path[colon+1:]) {
			return r, nil
		}
		r.path, r.tag = filepath.Clean(r.path[:colon]), r.path[colon+1:]
		if r.digest == "" {
			return r, nil
		}
		// With a digest the tag is dropped, and what is left must read the same again.
		r.tag = ""
	}
}

func (r reference) canonical() string {
	switch {
	case r.digest != "":
		return r.path + "@" + r.digest.String()
	case r.tag != "":
		return r.path + ":" + r.tag
	}
	return r.path
}

// explain turns any failure into the one line a user reads.
func explain(ctx context.Context, op, subject string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %q: %w", op, subject, context.Cause(ctx))
	}
	e := &fault.Error{Reason: fault.ReasonOf(err), Op: op, Subject: subject, Cause: err}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.Reason, e.Hint = fault.NotFound, "check the path, and that the layout is whole"
	case errors.Is(err, os.ErrPermission):
		e.Reason, e.Hint = fault.PermissionDenied, "check who may read the layout"
	}
	return e
}
