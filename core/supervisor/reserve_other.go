//go:build !linux

package supervisor

import (
	"errors"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/core/daemon"
	"github.com/vzctl/vzctl/core/store"
)

// Reserved is a supervisor that was taken from the reserve, of which there is none on this system.
type Reserved struct{}

// Surroundings are needed by nobody.
func Surroundings() ([]string, error) { return nil, nil }

// TakeReserved takes none.
func TakeReserved(*store.Store, []string, string, config.Plugins, bool, []string) *Reserved {
	return nil
}

// SandboxID is that of the sandbox that it is for.
func (r *Reserved) SandboxID() string { return "" }

// Close does nothing.
func (r *Reserved) Close() error { return nil }

func (r *Reserved) send(daemon.Spec) (*daemon.Process, error) { return nil, errors.ErrUnsupported }

func (s *supervision) reserveNext() {}

func superviseNext(string, string, string, string, hclog.Level) error { return errors.ErrUnsupported }
