package ext4

import (
	"errors"
	"fmt"
)

// ErrCorrupt is wrapped by every error about an image that contradicts itself.
var ErrCorrupt = errors.New("corrupt ext4 image")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}
