// Package unary makes one call of gRPC on a connection of its own. A client of gRPC's own would make a program larger by a tenth to a third, for what is called once.
package unary

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
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
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "guest"},
		{"content-type", "application/grpc"}, {"user-agent", "vzctl"}, {"te", "trailers"}, {"grpc-timeout", fmt.Sprintf("%dm", within.Milliseconds())}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			return err
		}
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: streamID, BlockFragment: headers.Bytes(), EndHeaders: true}); err != nil {
		return err
	}
	message := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))) // not compressed
	return framer.WriteData(streamID, true, append(message, body...))
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
			if said := message(f); said != "" || !answered {
				return errors.New("the call failed: " + said)
			}
			return nil
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return fmt.Errorf("the call ended in %v", f.Header().Type)
		}
	}
}

// message is what a failure says.
func message(f *http2.MetaHeadersFrame) string {
	status, text := "", ""
	for _, field := range f.Fields {
		switch field.Name {
		case "grpc-status":
			status = field.Value
		case "grpc-message":
			text = field.Value
		}
	}
	if status == "0" {
		return ""
	}
	return fmt.Sprintf("status %.10q, %.500q", status, text)
}
