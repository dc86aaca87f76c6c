//go:build !linux

package standby

import (
	"context"
	"io/fs"
	"time"
)

// Place is where VMs stand by: nowhere, on this system.
type Place struct{}

// At returns it.
func At(string) Place { return Place{} }

// Note forgets it.
func (Place) Note(error) {}

// Clear has nothing to end.
func (Place) Clear() error { return nil }

// List finds none.
func (Place) List() ([]Standing, error) { return nil, nil }

// Remove finds none.
func (Place) Remove(string) error { return fs.ErrNotExist }

// Standing is a VM that stands by.
type Standing struct {
	Key         string
	Description string
	Made        time.Time
	Used        time.Time
}

// Ask finds none.
func (Place) Ask(context.Context, string, string, Files) (*Copy, error) { return nil, ErrNone }

// Copy is never made.
type Copy struct {
	PID     int
	Primed  bool // its guest knows the image
	Sizes   []int64
	Console []byte
}

// Kill does nothing.
func (*Copy) Kill() error { return nil }

// Wait does nothing.
func (*Copy) Wait() {}

// Close does nothing.
func (*Copy) Close() error { return nil }

// How knows nothing.
func (*Copy) How() string { return "" }
