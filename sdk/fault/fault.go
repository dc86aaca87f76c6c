// Package fault is the one vocabulary of errors that cross a process boundary. A [Reason] is what a caller decides on, an [Error] is what a
// user reads. How they travel over gRPC is in grpc.go.
package fault

import (
	"errors"
	"strings"
	"syscall"
)

// Reason classifies a failure. It is an error itself, so that errors.Is(err, fault.NotFound) holds for every *Error of that reason.
type Reason string

// The reasons, one for one those of vzctl.plugin.v1.Reason.
const (
	NotFound           Reason = "not found"
	AlreadyExists      Reason = "already exists"
	Invalid            Reason = "invalid" // the request can never succeed
	FailedPrecondition Reason = "failed precondition"
	Unsupported        Reason = "unsupported" // a capability that is not offered
	Unauthenticated    Reason = "unauthenticated"
	PermissionDenied   Reason = "permission denied"
	Unavailable        Reason = "unavailable" // may succeed later
	DigestMismatch     Reason = "digest mismatch"
	NoSpace            Reason = "no space"
	InUse              Reason = "in use"
	Internal           Reason = "internal"
)

// Error makes a Reason usable as a target of errors.Is.
func (r Reason) Error() string { return string(r) }

// Error is a failure with all a user needs. Its text is one line: "<op> <subject>: <cause>; <hint>".
type Error struct {
	Reason  Reason
	Op      string // what was being done, "pull"
	Subject string // to what; quoted in the text
	Cause   error
	Hint    string // what the user can do
}

// Error returns the line a user reads.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Subject != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("\"" + e.Subject + "\"")
	}
	cause := string(e.Reason)
	if e.Cause != nil {
		cause = e.Cause.Error()
	}
	if b.Len() > 0 && cause != "" {
		b.WriteString(": ")
	}
	b.WriteString(cause)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Is reports whether target is the error's reason.
func (e *Error) Is(target error) bool {
	r, ok := target.(Reason)
	return ok && r == e.Reason
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// ReasonOf returns the reason of the outermost *Error or Reason in err. Of others a full disk or quota is NoSpace, and the rest Internal.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	if r, ok := errors.AsType[Reason](err); ok {
		return r
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return NoSpace
	}
	return Internal
}
