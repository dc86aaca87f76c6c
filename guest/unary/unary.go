// Package unary makes one call of gRPC on a connection of its own. A client of gRPC's own would make a program larger by a tenth to a third, for what is called once.
package unary

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

// maxHeaders bounds what the headers of an answer say, in bytes.
const maxHeaders = 16 << 10

// Call makes a unary call within a time. The answer itself is not looked at, but for an error. The connection is of no use after that; the caller closes it.
func Call(conn net.Conn, within time.Duration, method string, request proto.Message) error {
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	body, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	answered := make(chan error, 1)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders, framer.MaxHeaderListSize = hpack.NewDecoder(4096, nil), maxHeaders
	go func() { answered <- awaitEnd(framer) }()
	if err := send(conn, framer, method, body, within); err != nil {
		return err
	}
	return <-answered
}

const streamID = 1

// send writes the client's side of the connection.
func send(conn net.Conn, framer *http2.Framer, method string, body []byte, within time.Duration) error {
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	var headers bytes.Buffer
	encoder := hpack.NewEncoder(&headers)
	if err := WriteFields(encoder, method, within); err != nil {
		return err
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: streamID, BlockFragment: headers.Bytes(), EndHeaders: true}); err != nil {
		return err
	}
	message := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))) // not compressed
	return framer.WriteData(streamID, true, append(message, body...))
}

// WriteFields writes the headers of a call, which may take so long.
func WriteFields(to *hpack.Encoder, method string, within time.Duration) error {
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "guest"},
		{"content-type", "application/grpc"}, {"user-agent", "vzctl"}, {"te", "trailers"}, {"grpc-timeout", fmt.Sprintf("%dm", within.Milliseconds())}} {
		if err := to.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			return err
		}
	}
	return nil
}

// awaitEnd reads until the server has answered.
func awaitEnd(framer *http2.Framer) error {
	answered := false
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := frame.(type) {
		case *http2.DataFrame:
			answered = true
		case *http2.MetaHeadersFrame:
			if !f.StreamEnded() {
				continue
			}
			if err := Status(f); err != nil {
				return fmt.Errorf("the call failed: %q", err.Error()) // it is the other side's word, and may end in a log
			}
			if !answered {
				return errors.New("the call has no answer")
			}
			return nil
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return fmt.Errorf("the call ended in %v", f.Header().Type)
		}
	}
}

// Status is what the last headers of an answer say: nil, or what has failed.
func Status(f *http2.MetaHeadersFrame) error {
	status, message := "", ""
	for _, h := range f.Fields {
		switch h.Name {
		case "grpc-status":
			status = h.Value
		case "grpc-message":
			message = h.Value
		}
	}
	if status == "0" {
		return nil
	}
	if text, err := url.PathUnescape(message); err == nil {
		message = text
	}
	return fmt.Errorf("status %.10s: %.500s", status, message)
}
