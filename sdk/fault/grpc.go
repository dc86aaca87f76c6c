package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

// Longest texts that cross a process boundary, in bytes. A status travels in HTTP/2 headers, which have limits of their own.
const (
	maxOp      = 256
	maxSubject = 1024
	maxCause   = 4096
	maxHint    = 1024
)

// mapping is the one table of reasons: on the wire, and as gRPC code. Of reasons that share a code the first is what a bare code means.
var mapping = []struct {
	reason Reason
	wire   pluginv1.Reason
	code   codes.Code
}{
	{NotFound, pluginv1.Reason_REASON_NOT_FOUND, codes.NotFound},
	{AlreadyExists, pluginv1.Reason_REASON_ALREADY_EXISTS, codes.AlreadyExists},
	{Invalid, pluginv1.Reason_REASON_INVALID, codes.InvalidArgument},
	{FailedPrecondition, pluginv1.Reason_REASON_FAILED_PRECONDITION, codes.FailedPrecondition},
	{Unsupported, pluginv1.Reason_REASON_UNSUPPORTED, codes.Unimplemented},
	{Unauthenticated, pluginv1.Reason_REASON_UNAUTHENTICATED, codes.Unauthenticated},
	{PermissionDenied, pluginv1.Reason_REASON_PERMISSION_DENIED, codes.PermissionDenied},
	{Unavailable, pluginv1.Reason_REASON_UNAVAILABLE, codes.Unavailable},
	{DigestMismatch, pluginv1.Reason_REASON_DIGEST_MISMATCH, codes.DataLoss},
	{NoSpace, pluginv1.Reason_REASON_NO_SPACE, codes.ResourceExhausted},
	{InUse, pluginv1.Reason_REASON_IN_USE, codes.FailedPrecondition},
	{Internal, pluginv1.Reason_REASON_INTERNAL, codes.Internal},
	{Invalid, pluginv1.Reason_REASON_UNSPECIFIED, codes.OutOfRange},
	{Unavailable, pluginv1.Reason_REASON_UNSPECIFIED, codes.Aborted},
	{Internal, pluginv1.Reason_REASON_UNSPECIFIED, codes.Unknown},
}

// ToGRPC makes of any error one that gRPC sends with reason, operation, subject, cause and hint. Texts are bounded. The end of a context keeps its
// own code, and a status that is one already stays as it is. Nil stays nil.
func ToGRPC(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok && !endOfContext(e) {
		return encode(detailOf(err, e))
	}
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, bound(err.Error(), maxCause))
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, bound(err.Error(), maxCause))
	}
	if s, ok := status.FromError(err); ok && len(s.Message()) <= maxCause {
		return s.Err()
	}
	return encode(&pluginv1.ErrorDetail{Reason: wireOf(ReasonOf(err)), Cause: err.Error()})
}

// endOfContext: a call that ended because its caller left is not a fault of its own, however it is dressed.
func endOfContext(e *Error) bool {
	return e.Reason == "" && (errors.Is(e, context.Canceled) || errors.Is(e, context.DeadlineExceeded))
}

// detailOf keeps the parts of an *Error. One inside other errors gives its reason and the whole text, for what was wrapped around it matters.
func detailOf(err error, e *Error) *pluginv1.ErrorDetail {
	if err != error(e) {
		return &pluginv1.ErrorDetail{Reason: wireOf(e.Reason), Cause: err.Error()}
	}
	d := &pluginv1.ErrorDetail{Reason: wireOf(e.Reason), Operation: e.Op, Subject: e.Subject, Hint: e.Hint}
	if e.Cause != nil {
		d.Cause = e.Cause.Error()
	}
	return d
}

func encode(d *pluginv1.ErrorDetail) error {
	trim(d)
	text := decode(d).Error()
	s, err := status.New(codeOf(d.Reason), bound(text, maxCause)).WithDetails(d)
	if err != nil { // only for a code that means success, and the table has none
		return status.Error(codes.Internal, bound(text, maxCause))
	}
	return s.Err()
}

// FromGRPC makes an *Error of what a peer answered. The peer is not trusted: texts are bounded and lose what could steer a terminal. The end of a
// context becomes an error that wraps context.Canceled or context.DeadlineExceeded and is no *Error. Nil stays nil, and what is no status is returned as
// it is.
func FromGRPC(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, any := range s.Details() {
		if d, ok := any.(*pluginv1.ErrorDetail); ok {
			trim(d)
			return decode(d)
		}
	}
	text := bound(s.Message(), maxCause)
	switch s.Code() {
	case codes.Canceled:
		return fmt.Errorf("%s: %w", text, context.Canceled)
	case codes.DeadlineExceeded:
		return fmt.Errorf("%s: %w", text, context.DeadlineExceeded)
	}
	for _, m := range mapping {
		if m.code == s.Code() {
			return &Error{Reason: m.reason, Cause: errors.New(text)}
		}
	}
	return &Error{Reason: Internal, Cause: errors.New(text)}
}

func decode(d *pluginv1.ErrorDetail) *Error {
	e := &Error{Reason: Internal, Op: d.Operation, Subject: d.Subject, Hint: d.Hint}
	for _, m := range mapping {
		if m.wire == d.Reason {
			e.Reason = m.reason
			break
		}
	}
	if d.Reason == pluginv1.Reason_REASON_UNSPECIFIED {
		e.Reason = Internal
	}
	if d.Cause != "" {
		e.Cause = errors.New(d.Cause)
	}
	return e
}

func wireOf(r Reason) pluginv1.Reason {
	for _, m := range mapping {
		if m.reason == r {
			return m.wire
		}
	}
	return pluginv1.Reason_REASON_INTERNAL
}

func codeOf(r pluginv1.Reason) codes.Code {
	for _, m := range mapping {
		if m.wire == r && r != pluginv1.Reason_REASON_UNSPECIFIED {
			return m.code
		}
	}
	return codes.Internal
}

func trim(d *pluginv1.ErrorDetail) {
	d.Operation = bound(d.Operation, maxOp)
	d.Subject = bound(d.Subject, maxSubject)
	d.Cause = bound(d.Cause, maxCause)
	d.Hint = bound(d.Hint, maxHint)
}

// bound makes s one line of valid UTF-8 without what steers a terminal and of at most n bytes. Of a longer text the beginning and the end stay: the first
// says what failed, the last is where programs put the reason.
func bound(s string, n int) string {
	const gap = " ... "
	if len(s) > n {
		half := (n - len(gap)) / 2
		s = s[:half] + gap + s[len(s)-half:]
	}
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar: // also what turns the direction of a text
			return '?'
		}
		return r
	}, s))
	return s
}
