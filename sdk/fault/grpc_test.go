package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

func across(err error) error { return FromGRPC(ToGRPC(err)) }

func TestEveryReasonCrosses(t *testing.T) {
	for name, value := range pluginv1.Reason_value {
		if value == 0 {
			continue
		}
		r := decode(&pluginv1.ErrorDetail{Reason: pluginv1.Reason(value)}).Reason
		if r == Internal && name != "REASON_INTERNAL" {
			t.Errorf("%s has no reason in Go", name)
		}
		got := across(&Error{Reason: r, Op: "do", Subject: "it", Cause: io.ErrUnexpectedEOF, Hint: "try"})
		if !errors.Is(got, r) || got.Error() != `do "it": unexpected EOF; try` {
			t.Errorf("%s came as %q: %v", name, ReasonOf(got), got)
		}
		if code := status.Code(ToGRPC(&Error{Reason: r})); code == codes.OK || code == codes.Unknown {
			t.Errorf("%s has code %s", name, code)
		}
	}
}

func TestWhatCrosses(t *testing.T) {
	inner := &Error{Reason: NotFound, Op: "open", Subject: "disk", Cause: errors.New("gone"), Hint: "make one"}
	for _, c := range []struct {
		name   string
		err    error
		reason Reason
		text   string
	}{
		{"nothing stays nothing", nil, "", ""},
		{"a bare reason keeps it", NoSpace, NoSpace, "no space"},
		{"a wrapped reason keeps it and the text", fmt.Errorf("write blob: %w", NoSpace), NoSpace, "write blob: no space"},
		{"a wrapped error keeps reason and the text around it", fmt.Errorf("start: %w", inner), NotFound, `start: open "disk": gone; make one`},
		{"the cause's chain keeps its text", &Error{Reason: Unavailable, Op: "pull", Cause: fmt.Errorf("get: %w", inner)}, Unavailable, `pull: get: open "disk": gone; make one`},
		{"a plain error is internal", errors.New("what"), Internal, "what"},
		{"a full disk is no space", fmt.Errorf("write x: %w", syscall.ENOSPC), NoSpace, "write x: no space left on device"},
		{"an error without cause says its reason", &Error{Reason: InUse, Op: "delete", Subject: "net"}, InUse, `delete "net": in use`},
		{"invalid UTF-8 becomes text", errors.New("a\xffb"), Internal, "a?b"},
		{"lines become one", errors.New("a\nb\x1b[31m"), Internal, "a b?[31m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := across(c.err)
			if c.err == nil {
				if got != nil {
					t.Error(got)
				}
				return
			}
			if got.Error() != c.text || ReasonOf(got) != c.reason {
				t.Errorf("came as %q: %q", ReasonOf(got), got)
			}
		})
	}
}

func TestTheEndOfAContextIsNoFault(t *testing.T) {
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		got := across(fmt.Errorf("pull: %w", end))
		if _, isFault := errors.AsType[*Error](got); isFault || !errors.Is(got, end) {
			t.Errorf("%v came as %#v", end, got)
		}
	}
	// What a plugin says of its own work is its answer, even if a context of its own ended within.
	got := across(&Error{Reason: Unavailable, Op: "dial", Cause: context.DeadlineExceeded})
	if !errors.Is(got, Unavailable) {
		t.Errorf("came as %v", got)
	}
}

func TestHugeTextsAreCutInTheMiddle(t *testing.T) {
	huge := "first " + strings.Repeat("\xff", 1<<20) + " last"
	got := across(&Error{Reason: Invalid, Op: huge, Subject: huge, Cause: errors.New(huge), Hint: huge})
	if len(got.Error()) > 3*(maxOp+maxSubject+maxCause+maxHint) || !strings.HasPrefix(got.Error(), "first") || !strings.HasSuffix(got.Error(), "last") {
		t.Errorf("%d bytes: %.100q", len(got.Error()), got)
	}
	if s, _ := status.FromError(ToGRPC(errors.New(huge))); len(s.Message()) > 3*maxCause {
		t.Errorf("status message has %d bytes", len(s.Message()))
	}
}

func TestStatusesOfForeignPeers(t *testing.T) {
	for code, reason := range map[codes.Code]Reason{
		codes.NotFound: NotFound, codes.AlreadyExists: AlreadyExists, codes.InvalidArgument: Invalid, codes.FailedPrecondition: FailedPrecondition,
		codes.Unimplemented: Unsupported, codes.Unauthenticated: Unauthenticated, codes.PermissionDenied: PermissionDenied, codes.Unavailable: Unavailable,
		codes.DataLoss: DigestMismatch, codes.ResourceExhausted: NoSpace, codes.Internal: Internal, codes.Unknown: Internal, codes.OutOfRange: Invalid,
		codes.Aborted: Unavailable, codes.Code(99): Internal,
	} {
		if got := FromGRPC(status.Error(code, "text")); !errors.Is(got, reason) || got.Error() != "text" {
			t.Errorf("%s came as %q: %v", code, ReasonOf(got), got)
		}
	}
	if got := FromGRPC(io.EOF); got != io.EOF {
		t.Errorf("the end of a stream came as %v", got)
	}
}

func FuzzFromGRPC(f *testing.F) {
	f.Add(int32(1), "op", "subject", "cause", "hint")
	f.Add(int32(-7), "\xff", "\n", strings.Repeat("x", 10000), "\x00")
	f.Fuzz(func(t *testing.T, reason int32, op, subject, cause, hint string) {
		e := decode(&pluginv1.ErrorDetail{Reason: pluginv1.Reason(reason), Operation: op, Subject: subject, Cause: cause, Hint: hint})
		text := across(e).Error()
		if strings.ContainsAny(text, "\n\x1b\x00") || len(text) > 3*(maxOp+maxSubject+maxCause+maxHint)+20 {
			t.Errorf("%d bytes: %q", len(text), text)
		}
	})
}
