package agent

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/vminitd/failure"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestFailuresReachTheHostAsFaults(t *testing.T) {
	for mine, theirs := range map[failure.Reason]fault.Reason{
		failure.NotFound: fault.NotFound, failure.Invalid: fault.Invalid, failure.FailedPrecondition: fault.FailedPrecondition,
		failure.Unsupported: fault.Unsupported, failure.PermissionDenied: fault.PermissionDenied, failure.Internal: fault.Internal,
	} {
		err := fault.FromGRPC(toGRPC(&failure.Error{Reason: mine, Op: "execute", Subject: "x", Cause: errors.New("why"), Hint: "do"}))
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || e.Reason != theirs || e.Op != "execute" || e.Subject != "x" || e.Cause.Error() != "why" || e.Hint != "do" {
			t.Errorf("%s arrives as %#v", mine, err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	var good bytes.Buffer
	if err := writeHeader(&good, &guestv1.StreamRequest{ContainerId: "c", ProcessId: "init", Kind: guestv1.StreamKind_STREAM_KIND_STDIN}); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bytes.NewReader(append(text, "rest"...))
		var request guestv1.StreamRequest
		if readHeader(r, &request, maxHeader) != nil {
			return
		}
		var again bytes.Buffer
		var second guestv1.StreamRequest
		if err := writeHeader(&again, &request); err != nil {
			t.Fatal(err)
		}
		if again.Len() > 4+maxHeader {
			t.Errorf("a header of %d bytes", again.Len())
		}
		if err := readHeader(&again, &second, maxHeader); err != nil || !proto.Equal(&request, &second) {
			t.Skip("not canonical, and longer than a header may be when written anew")
		}
	})
}
