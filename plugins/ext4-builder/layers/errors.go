package layers

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// ErrInvalid is wrapped by errors about layers that are malformed or hold what
// no layer may hold.
var ErrInvalid = errors.New("invalid layer")

// ErrUnsupported is wrapped by errors about layers in a form unknown here.
var ErrUnsupported = errors.New("unsupported layer")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// DigestError says that content is not what its descriptor promised.
type DigestError struct {
	What      string // "layer blob", "layer content", ...
	Want, Got digest.Digest
}

// Error implements error.
func (e *DigestError) Error() string {
	return fmt.Sprintf("%s has digest %s, want %s", e.What, e.Got, e.Want)
}
