package files

import (
	"errors"
	"strings"
	"testing"
)

// Long paths are bounded before their number is.
func TestWhatIsKeptOfChangesIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		path  string
		bytes int // least that is kept before it ends
	}{
		"many":          {"/a", 0},
		"of deep paths": {"/" + strings.Repeat("d/", 2000), maxPaths / 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := &comparison{ctx: t.Context()}
			var err error
			for range maxChanges + 1 {
				if err = c.add(Change{Kind: Added, Path: test.path}); err != nil {
					break
				}
			}
			kept := len(c.changes) * len(test.path)
			if !errors.Is(err, errTooMany) || kept > maxPaths || kept < test.bytes {
				t.Errorf("%v after %d changes with %d bytes", err, len(c.changes), kept)
			}
		})
	}
}
