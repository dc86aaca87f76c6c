package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/vminitd/container"
	"github.com/vzctl/vzctl/guest/vminitd/stdio"
)

const (
	// maxHeader bounds the messages that open a stream, in bytes.
	maxHeader = 4096
	// headerPatience is how long the host may take to say which stream it wants.
	headerPatience = 30 * time.Second
)

// ServeStreams gives each connection of the listener the stream it asks for, until ctx ends or the listener fails, and waits for all.
func (a *Agent) ServeStreams(ctx context.Context, l net.Listener) error {
	var streams sync.WaitGroup
	defer streams.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		streams.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			a.serveStream(ctx, conn)
		})
	}
}

func (a *Agent) serveStream(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(headerPatience)) // fails only on a connection that is gone
	var request guestv1.StreamRequest
	if err := readHeader(conn, &request, maxHeader); err != nil {
		_ = writeHeader(conn, &guestv1.StreamResponse{Error: err.Error()}) // to who may be gone
		return
	}
	switch request.Kind {
	case guestv1.StreamKind_STREAM_KIND_FILES:
		a.serveFiles(conn, request.ContainerId)
		return
	case guestv1.StreamKind_STREAM_KIND_LAUNCH:
		a.serveLaunches(ctx, conn)
		return
	}
	stream, err := a.openStream(conn, &request)
	response := &guestv1.StreamResponse{}
	if err != nil {
		response.Error = err.Error()
	}
	if err := writeHeader(conn, response); err != nil || response.Error != "" {
		if stream != nil && !stream.ended {
			stream.unclaim()
		}
		return
	}
	_ = conn.SetDeadline(time.Time{})
	if stream.ended {
		_ = stream.conn.CloseWrite() // the host is gone, or hears it
		return
	}
	stream.Serve(stream.conn)
}

// claimed is a stream that a connection has.
type claimed struct {
	container.Stream
	conn  stdio.Conn
	ended bool // and so it is nobody's
}

func (c *claimed) unclaim() {
	_ = c.conn.SetDeadline(time.Unix(1, 0))
	c.Serve(c.conn) // ends at once, and gives the stream back
}

func (a *Agent) openStream(conn net.Conn, request *guestv1.StreamRequest) (*claimed, error) {
	half, ok := conn.(stdio.Conn)
	if !ok {
		return nil, errors.New("the transport has no half-close")
	}
	stream, err := a.find(request)
	if err != nil {
		return nil, err
	}
	err = stream.Claim(half)
	for request.Again && errors.Is(err, stdio.ErrBusy) { // the connection before was lost, and is just being noticed to be
		select {
		case <-stream.Freed():
		case <-time.After(headerPatience):
			return nil, err
		}
		err = stream.Claim(half)
	}
	if request.Again && errors.Is(err, stdio.ErrClosed) {
		return &claimed{stream, half, true}, nil
	}
	if err != nil {
		return nil, err
	}
	return &claimed{stream, half, false}, nil
}

// find returns the stream that is asked for.
func (a *Agent) find(request *guestv1.StreamRequest) (container.Stream, error) {
	if request.Kind == guestv1.StreamKind_STREAM_KIND_SOCKET {
		return a.runtime.Socket(request.ContainerId, request.SocketId)
	}
	kind, err := streamKind(request.Kind)
	if err != nil {
		return nil, err
	}
	p, err := a.runtime.Process(request.ContainerId, request.ProcessId)
	if err != nil {
		return nil, err
	}
	return p.Stream(kind)
}

func streamKind(k guestv1.StreamKind) (container.Kind, error) {
	switch k {
	case guestv1.StreamKind_STREAM_KIND_STDIN:
		return container.Stdin, nil
	case guestv1.StreamKind_STREAM_KIND_STDOUT:
		return container.Stdout, nil
	case guestv1.StreamKind_STREAM_KIND_STDERR:
		return container.Stderr, nil
	case guestv1.StreamKind_STREAM_KIND_TERMINAL:
		return container.Terminal, nil
	}
	return 0, fmt.Errorf("there is no stream of kind %d", k)
}

func readHeader(r io.Reader, message proto.Message, most uint32) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > most {
		return fmt.Errorf("stream header of %d bytes, at most %d", n, most)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return proto.Unmarshal(body, message)
}

func writeHeader(w io.Writer, message proto.Message) error {
	body, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	return writeMessage(w, body[:min(len(body), maxHeader)])
}

func writeMessage(w io.Writer, body []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}
