// Package failure holds the guest's errors where sdk/fault cannot be used: in the launch helper, which is executed anew for each process of a container
// and must not wait for packages gRPC and protobuf to set themselves up. Package agent makes faults of them.
package failure

import (
	"errors"
	"strings"
)

// Reason is one of sdk/fault's, by its text.
type Reason string

// The reasons that occur; the same texts as in sdk/fault.
const (
	NotFound           Reason = "not found"
	Invalid            Reason = "invalid"
	FailedPrecondition Reason = "failed precondition"
	Unsupported        Reason = "unsupported"
	PermissionDenied   Reason = "permission denied"
	Internal           Reason = "internal"
)

// Error is a failure. Its fields are those of fault.Error.
type Error struct {
	Reason  Reason
	Op      string
	Subject string
	Cause   error
	Hint    string
}

// Error returns all in one line.
func (e *Error) Error() string {
	parts := []string{strings.TrimSpace(e.Op + " " + e.Subject)}
	if e.Cause != nil {
		parts = append(parts, e.Cause.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// ReasonOf returns the reason of the outermost *Error in err, or Internal.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Internal
}

// Unenforced refuses a field of a runtime spec that is asked for and that vminitd does not do. Silence would be a promise.
func Unenforced(asked bool, field string) error {
	if !asked {
		return nil
	}
	return &Error{Reason: Unsupported, Op: "enforce", Subject: field, Cause: errors.New("the guest cannot"), Hint: "remove it from the runtime spec"}
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
