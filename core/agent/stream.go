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

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// maxHeader bounds the messages that open a stream, in bytes.
const maxHeader = 4096

// OpenStream connects to a stream of a process. The caller closes the connection, which can be half-closed.
func (c *Client) OpenStream(ctx context.Context, request *guestv1.StreamRequest) (net.Conn, error) {
	conn, err := DialPort(ctx, c.vsockPath, StreamPort)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	var answer guestv1.StreamResponse
	err = errors.Join(WriteHeader(conn, request), ReadHeader(conn, &answer))
	if err == nil && answer.Error != "" {
		err = errors.New(bounded(answer.Error, 500))
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(&fault.Error{Reason: fault.Unavailable, Op: "open a stream of process", Subject: request.ProcessId, Cause: err}, conn.Close())
	}
	return conn, nil
}

// WriteHeader sends a message behind its length.
func WriteHeader(w io.Writer, message proto.Message) error {
	body, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	if len(body) > maxHeader {
		return fmt.Errorf("stream header of %d bytes, at most %d", len(body), maxHeader)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...))
	return err
}

// WriteMessages is WriteHeader of messages of any length, at once.
func WriteMessages(w io.Writer, messages ...proto.Message) (err error) {
	var all []byte
	for _, message := range messages {
		begin := len(all)
		all = append(all, 0, 0, 0, 0)
		if all, err = (proto.MarshalOptions{}).MarshalAppend(all, message); err != nil {
			return err
		}
		binary.BigEndian.PutUint32(all[begin:], uint32(len(all)-begin-4))
	}
	_, err = w.Write(all)
	return err
}

// ReadHeader reads what WriteHeader sent, and not a byte more.
func ReadHeader(r io.Reader, message proto.Message) error {
	if err := ReadMessage(r, message, maxHeader); err != nil {
		return fmt.Errorf("read stream header: %w", err)
	}
	return nil
}

// ReadMessage is ReadHeader of at most so many bytes.
func ReadMessage(r io.Reader, message proto.Message, most uint32) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > most {
		return fmt.Errorf("%d bytes, at most %d", n, most)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if proto.Unmarshal(body, message) != nil { // whose errors are not for people
		return errors.New("it is no message")
	}
	return nil
}
