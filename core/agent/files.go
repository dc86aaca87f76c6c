package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/vzctl/vzctl/guest/frames"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

const (
	// maxFilesMessage bounds a FilesRequest, and a FilesResult, in bytes.
	maxFilesMessage = 64 << 10
	maxWarnings     = 32
)

// FilesResult is what the guest says in the end.
type FilesResult struct {
	// Warnings tell what was left out, for people.
	Warnings []string
	// Exists, Mode (st_mode) and Size answer a StatFileRequest.
	Exists bool
	Mode   uint32
	Size   int64
}

// UseFiles makes one request over a connection of its own, which it closes. send writes what the guest is to get, receive reads what it sends; either may be nil. What the guest sends is to
// be trusted by nobody. When it returns receive has, and so has send, but for one that waits for something else
// than the connection when the guest has ended the request or ctx has.
func UseFiles(ctx context.Context, conn net.Conn, request *guestv1.FilesRequest, send func(io.Writer) error, receive func(io.Reader) error) (FilesResult, error) {
	defer conn.Close() // the second time, mostly
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := writeLong(conn, request); err != nil {
		return FilesResult{}, filesLost(ctx, err)
	}
	sent := make(chan error, 1)
	go func() {
		err := sendFrames(conn, send)
		sent <- err
		if _, ok := errors.AsType[*ownError](err); ok {
			_ = conn.Close() // and the guest knows that this was not all
		} // a guest that takes no more has said why, and that is still to be read
	}()
	result, err := receiveFrames(conn, receive)
	_ = conn.Close()
	if err == nil {
		// The guest may not want to hear the end of what it has not asked for.
		select {
		case sendErr := <-sent:
			if own, ok := errors.AsType[*ownError](sendErr); ok {
				return result, own.error
			}
			return result, nil
		case <-ctx.Done(): // a guest that answered before it had all, while send waits for a terminal
			return result, context.Cause(ctx)
		}
	}
	select {
	case sendErr := <-sent:
		if own, ok := errors.AsType[*ownError](sendErr); ok {
			err = own
		}
	default: // it may wait for a terminal
	}
	if own, ok := errors.AsType[*ownError](err); ok && ctx.Err() == nil {
		return result, own.error
	}
	return result, filesLost(ctx, err)
}

// ownError is of what this side was to do, and not of the connection.
type ownError struct{ error }

func filesLost(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &fault.Error{Reason: fault.Unavailable, Op: "use the container's files", Cause: errors.New("the connection to the guest was lost: has the container ended?")}
	}
	return err
}

func sendFrames(conn net.Conn, send func(io.Writer) error) error {
	w := frames.NewWriter(conn)
	if send != nil {
		to := &remembering{w: w}
		if err := send(to); err != nil {
			if to.err != nil {
				return to.err
			}
			return &ownError{err}
		}
	}
	return w.Close()
}

// remembering tells errors of writing from others.
type remembering struct {
	w   io.Writer
	err error
}

func (r *remembering) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	if err != nil {
		r.err = err
	}
	return n, err
}

func receiveFrames(conn net.Conn, receive func(io.Reader) error) (FilesResult, error) {
	r := frames.NewReader(conn)
	var own error
	if receive != nil {
		if own = receive(r); own != nil && r.Err() == nil {
			return FilesResult{}, &ownError{own}
		}
	}
	if err := r.Drain(); err != nil {
		return FilesResult{}, err
	}
	var answer guestv1.FilesResult
	if err := ReadMessage(conn, &answer, maxFilesMessage); err != nil {
		return FilesResult{}, err
	}
	var result FilesResult
	for _, w := range answer.Warnings[:min(len(answer.Warnings), maxWarnings)] {
		result.Warnings = append(result.Warnings, bounded(w, 500))
	}
	if s := answer.Stat; s != nil {
		result.Exists, result.Mode, result.Size = s.Exists, s.Mode, s.Size
	}
	if len(answer.Error) > 0 {
		failure, ok := fault.Unmarshal(answer.Error)
		if !ok {
			failure = &fault.Error{Reason: fault.Internal, Op: "use the container's files", Cause: errors.New("the guest's agent says that it failed, but not why")}
		}
		return result, failure
	}
	if own != nil {
		return result, &ownError{own}
	}
	return result, nil
}

func writeLong(w io.Writer, message proto.Message) error {
	body, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	if len(body) > maxFilesMessage {
		return &fault.Error{Reason: fault.Invalid, Op: "use the container's files", Cause: fmt.Errorf("request of %d bytes, at most %d", len(body), maxFilesMessage)}
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}
