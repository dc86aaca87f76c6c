//go:build !linux

package supervisor

import (
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/daemon"
	"github.com/vzctl/vzctl/core/store"
)

// Reserve is what the starter of a sandbox knows of the reserve. On this system there is none.
type Reserve struct{}

// Surroundings are needed by nobody.
func Surroundings() ([]string, error) { return nil, nil }

// TakeFromReserve takes none.
func TakeFromReserve(*store.Store, Wanted) *Reserve { return nil }

// SandboxID is "".
func (r *Reserve) SandboxID() string { return "" }

// Close does nothing.
func (r *Reserve) Close() error { return nil }

func (r *Reserve) send(daemon.Spec) (*daemon.Process, error) { return nil, errors.ErrUnsupported }

func (r *Reserve) variable() []string { return nil }

type nextReserve struct{}

func takeNextReserve() (next nextReserve) { return next }

func (s *supervision) reserveNext(nextReserve) {}

func superviseNext(string, string, string, string, time.Duration, hclog.Level) error {
	return errors.ErrUnsupported
}
