package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/vzctl/vzctl/guest/archive"
	"github.com/vzctl/vzctl/guest/frames"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/vminitd/container"
	"github.com/vzctl/vzctl/guest/vminitd/files"
	"github.com/vzctl/vzctl/sdk/fault"
)

const (
	// maxFilesMessage bounds a FilesRequest, and a FilesResult, in bytes.
	maxFilesMessage = 64 << 10
	// maxWarnings and maxWarning bound what is told of what was left out, the latter in bytes.
	maxWarnings = 32
	maxWarning  = 512
)

// serveFiles serves one stream of kind FILES.
func (a *Agent) serveFiles(conn net.Conn, id string) {
	ctx, use, err := a.runtime.Files(context.Background(), id)
	response := &guestv1.StreamResponse{}
	if err != nil {
		response.Error = err.Error()
	} else {
		defer use.Close()
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	}
	if writeHeader(conn, response) != nil || err != nil {
		return
	}
	var request guestv1.FilesRequest
	err = readHeader(conn, &request, maxFilesMessage)
	_ = conn.SetDeadline(time.Time{}) // fails only on a connection that is gone
	s := &filesStream{ctx: ctx, use: use, in: frames.NewReader(conn), out: frames.NewWriter(conn), result: &guestv1.FilesResult{}}
	if err == nil {
		err = s.serve(&request)
	}
	if err != nil {
		body, marshalErr := fault.Marshal(asFault(filesError(err)))
		if marshalErr != nil {
			return // and the host sees that the connection ends early
		}
		s.result.Error = body
	}
	if s.out.Close() != nil || writeLong(conn, s.result) != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the host has all it needs
	}
	// A host that still sends is to see the result, not the end of the connection.
	_ = conn.SetReadDeadline(time.Now().Add(headerPatience))
	_, _ = io.Copy(io.Discard, conn)
}

type filesStream struct {
	ctx    context.Context
	use    *container.Files
	in     *frames.Reader
	out    *frames.Writer
	result *guestv1.FilesResult
}

func (s *filesStream) serve(request *guestv1.FilesRequest) error {
	switch of := request.Of.(type) {
	case *guestv1.FilesRequest_Stat:
		return s.stat(of.Stat)
	case *guestv1.FilesRequest_Read:
		return s.read(of.Read)
	case *guestv1.FilesRequest_Write:
		return s.write(of.Write)
	case *guestv1.FilesRequest_Changes:
		return s.changes(of.Changes)
	case *guestv1.FilesRequest_Hold:
		return s.hold(of.Hold.GetAction())
	}
	return &fault.Error{Reason: fault.Unsupported, Op: "use files", Cause: errors.New("the guest does not know what is asked for")}
}

func (s *filesStream) locate(path string, follow, rootOnly bool) (files.Place, error) {
	view, err := s.use.View(rootOnly)
	if err != nil {
		return files.Place{}, err
	}
	place, err := view.Locate(path, follow)
	return place, errors.Join(err, view.Close())
}

func (s *filesStream) stat(r *guestv1.StatFileRequest) error {
	s.result.Stat = &guestv1.FileStat{}
	place, err := s.locate(r.Path, r.Follow, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if place.Info != nil {
		stat, ok := files.Mode(place.Info)
		if !ok {
			return errors.Join(errors.New("the kernel does not say what it is"), place.Dir.Close())
		}
		s.result.Stat = &guestv1.FileStat{Exists: true, Mode: stat, Size: place.Info.Size()}
	}
	return place.Dir.Close()
}

func (s *filesStream) read(r *guestv1.ReadFilesRequest) (err error) {
	place, err := s.locate(r.Path, r.Follow, r.RootOnly)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.Dir.Close()) }()
	if place.Info == nil {
		return &fault.Error{Reason: fault.NotFound, Op: "read", Subject: r.Path, Cause: errors.New("there is no such file or directory")}
	}
	w := archive.NewWriter(s.out)
	w.OwnHoles = r.OwnHoles
	if err := archive.NewPacker(w, archive.PackOptions{IDs: s.use.Namespace().IDs(), Warn: s.warn}).Tree(s.ctx, place.Dir, place.Name, r.Name); err != nil {
		return err
	}
	return w.Close()
}

func (s *filesStream) write(r *guestv1.WriteFilesRequest) (err error) {
	path := r.Path
	if !r.As {
		path += "/"
	}
	place, err := s.locate(path, true, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.Dir.Close()) }()
	ns := s.use.Namespace()
	options := archive.ExtractOptions{Owners: true, IDs: ns.IDs(), Specials: true, Xattr: func(string) bool { return true }, Warn: s.warn}
	if r.As {
		if place.Name == "." {
			return errors.New("a directory is there already")
		}
		options.Rename = place.Name
	}
	if err := ns.Own(func() error { return archive.Extract(s.ctx, place.Dir, s.in, options) }); err != nil {
		return err
	}
	return s.in.Drain() // the padding of a tar; and the host's end, without which it was not all
}

func (s *filesStream) changes(r *guestv1.ReadChangesRequest) (err error) {
	layers := s.use.Layers()
	if r.Layer {
		// What is read is of one moment.
		if err := s.use.Freeze(); err == nil {
			defer func() {
				if thawErr := s.use.Thaw(); !errors.Is(thawErr, files.ErrNotFrozen) {
					err = errors.Join(err, thawErr)
				}
			}()
		} else if !errors.Is(err, files.ErrFrozen) {
			return err
		}
	}
	changes, err := layers.Changes(s.ctx)
	if err != nil {
		return err
	}
	if r.Layer {
		return layers.WriteLayer(s.ctx, changes, archive.NewWriter(s.out), s.warn)
	}
	if changes, err = layers.Expand(s.ctx, changes); err != nil {
		return err
	}
	for _, c := range changes {
		if _, err := s.out.Write([]byte(string(rune(c.Kind)) + c.Path + "\x00")); err != nil {
			return err
		}
	}
	return nil
}

func (s *filesStream) hold(action guestv1.HoldAction) error {
	do := map[guestv1.HoldAction]struct {
		op string
		f  func() error
	}{
		guestv1.HoldAction_HOLD_ACTION_FREEZE: {"freeze", s.use.Freeze},
		guestv1.HoldAction_HOLD_ACTION_THAW:   {"thaw", s.use.Thaw},
		guestv1.HoldAction_HOLD_ACTION_TRIM:   {"trim", s.use.Trim},
	}[action]
	if do.f == nil {
		return &fault.Error{Reason: fault.Unsupported, Op: "hold files", Cause: fmt.Errorf("the guest does not know action %d", action)}
	}
	err := do.f()
	reason := fault.Internal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, files.ErrFrozen), errors.Is(err, files.ErrNotFrozen):
		reason = fault.FailedPrecondition
	case errors.Is(err, files.ErrNoTrim):
		reason = fault.Unsupported
	}
	return &fault.Error{Reason: reason, Op: do.op + " the file system", Cause: err}
}

func (s *filesStream) warn(text string) {
	if len(s.result.Warnings) < maxWarnings {
		s.result.Warnings = append(s.result.Warnings, strings.ToValidUTF8(text[:min(len(text), maxWarning)], "?"))
	}
}

// filesError gives errors of the kernel their reasons.
func filesError(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	reason := fault.Internal
	switch {
	case errors.Is(err, fs.ErrNotExist):
		reason = fault.NotFound
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		reason = fault.NoSpace
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR), errors.Is(err, fs.ErrExist):
		reason = fault.FailedPrecondition
	case errors.Is(err, fs.ErrPermission):
		reason = fault.PermissionDenied
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENAMETOOLONG):
		reason = fault.Invalid
	}
	return &fault.Error{Reason: reason, Op: "use files of the container", Cause: err}
}

// writeLong is writeHeader for a message that must not be cut.
func writeLong(w io.Writer, message proto.Message) error {
	body, err := proto.Marshal(message)
	if err == nil && len(body) > maxFilesMessage {
		err = fmt.Errorf("message of %d bytes, at most %d", len(body), maxFilesMessage)
	}
	if err != nil {
		return err
	}
	return writeMessage(w, body)
}
