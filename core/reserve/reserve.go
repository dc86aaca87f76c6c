// Package reserve is where a process waits that was made before anybody knows what for, and where who would have to make one finds it: see the package supervisor, whose processes these are.
//
// For each key one may wait, and a few below one root. It is in the directory of the key, with a socket whose name is the id that it has chosen for what it will look after. Who moves that directory away has
// the process, and nobody else; so there is no moment in which two have it, and none in which it ends while somebody takes it.
//
// It is for Linux.
package reserve

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// Place is where processes wait.
type Place struct{ dir string }

// At returns the place in a directory, which need not be there.
func At(dir string) Place { return Place{dir} }

// Key of all that a process must have in common with one that would be made in its place.
func Key(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:keyLength/2])
}

const keyLength = 32 // in hexadecimal digits, as of ids

func valid(name string) bool {
	return len(name) == keyLength && strings.Trim(name, "0123456789abcdef") == ""
}

// ErrNotWanted says that a process which has waited is to end.
var ErrNotWanted = errors.New("nobody wanted it")
