// Package unenforced refuses what a runtime spec asks for and vminitd does not do. Silence would be a promise.
package unenforced

import (
	"errors"

	"github.com/vzctl/vzctl/sdk/fault"
)

// If returns an error naming the field if it is asked for.
func If(asked bool, field string) error {
	if !asked {
		return nil
	}
	return &fault.Error{Reason: fault.Unsupported, Op: "enforce", Subject: field, Cause: errors.New("the guest cannot"), Hint: "remove it from the runtime spec"}
}

// First returns the first error.
func First(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
