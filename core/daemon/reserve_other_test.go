//go:build !linux

package daemon

import "errors"

func fromReserve(string) (*Inherited, error) { return nil, errors.ErrUnsupported }
