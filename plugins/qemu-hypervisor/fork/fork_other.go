//go:build !(linux && amd64)

package fork

import "os"

// Original is a process that is copied.
type Original struct{}

// Supported says whether this system has what it takes.
const Supported = false

// Take fails.
func Take(int, []int, int, *os.File) (*Original, error) { return nil, ErrUnsupported }

// Again fails.
func (o *Original) Again(int, *os.File) (*Original, error) { return nil, ErrUnsupported }

// Copy fails.
func (o *Original) Copy(Plan) (pid int, err error) { return 0, ErrUnsupported }

// Park fails.
func (o *Original) Park() error { return ErrUnsupported }

// Pages are none.
type Pages []uint64

// Common returns none.
func (p Pages) Common(Pages) Pages { return nil }

// Written fails.
func (o *Original) Written(int) (Pages, error) { return nil, ErrUnsupported }

// Foresee does nothing.
func (o *Original) Foresee(Pages) {}

// Release does nothing.
func (o *Original) Release() {}
