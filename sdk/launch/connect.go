package launch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/internal/wire"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// maxHandshake is the longest line that is taken for a handshake.
const maxHandshake = 4096

// listen reads where the started plugin listens.
func (c *child) listen() (socket string, err error) {
	said := make(chan string, 1)
	go c.readStdout(said)
	go c.readStderr()
	line := <-said // the end of the process ends it too
	network, address, err := wire.ParseLine(line)
	if err != nil {
		return "", c.explain(line, err)
	}
	if network != "unix" || filepath.Dir(filepath.Clean(address)) != filepath.Clean(c.socketDir) {
		return "", &fault.Error{Reason: fault.Invalid, Cause: errors.New("the plugin does not listen where it was told to")}
	}
	return address, nil
}

// connect returns a connection to where listening says, once it does, which may take as long as patience. All that can be made before is.
func connect(listening func() (string, error), patience time.Duration) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///plugin", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(rpc.MaxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: patience}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			socket, err := listening()
			if err != nil {
				return nil, err
			}
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", socket)
		}))
}

// explain says what the plugin did in place of the handshake; line is the first it has written.
func (c *child) explain(line string, err error) error {
	if !errors.Is(err, wire.ErrNoHandshake) {
		return err
	}
	if text := shown(line[:min(len(line), maxFirstLine)]); text != "" {
		return &fault.Error{Reason: fault.Invalid, Cause: fmt.Errorf("it said %q in place of a plugin's handshake", text), Hint: "it may be no plugin of vzctl"}
	}
	select {
	case <-c.gone.Done():
		return &fault.Error{Reason: fault.Unavailable, Cause: fmt.Errorf("it ended before it was ready: %s", c.lastWords())}
	case <-time.After(drainTime):
		return &fault.Error{Reason: fault.Invalid, Cause: errors.New("it closed its standard output in place of a plugin's handshake"), Hint: "it may be no plugin of vzctl"}
	}
}

// maxFirstLine is how much of a plugin's first line an error shows.
const maxFirstLine = 200

// readStdout tells the first line, or as much of it as a handshake may have. What comes after that is only of interest if the plugin ends.
func (c *child) readStdout(first chan<- string) {
	defer close(c.stdout.done)
	r := bufio.NewReaderSize(c.stdout.file, maxHandshake)
	line, _ := r.ReadSlice('\n') // whatever was the matter, this is what was said
	first <- string(line)
	_, _ = io.Copy(&c.tail, r) // to its end
}

// syncOutput takes what a plugin made with go-plugin itself writes to its standard streams. That keeps it back for such a call, and its writers wait when nobody
// makes it. Other plugins have no such service, which is as good.
func (c *child) syncOutput(conn *grpc.ClientConn) {
	stream, err := conn.NewStream(c.gone, &grpc.StreamDesc{ServerStreams: true}, "/plugin.GRPCStdio/StreamStdio")
	if err == nil {
		err = stream.SendMsg(&emptypb.Empty{})
	}
	if err == nil {
		err = stream.CloseSend()
	}
	for err == nil {
		var m emptypb.Empty // nothing of go-plugin is linked: what the answer has is unknown to this one, and kept
		if err = stream.RecvMsg(&m); err == nil {
			_, _ = c.tail.Write(stdioData(m.ProtoReflect().GetUnknown()))
		}
	}
}

// stdioData is field 2 of go-plugin's StdioData: bytes that were written. Nil, if it has none or is malformed.
func stdioData(message []byte) []byte {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		if number == 2 && kind == protowire.BytesType {
			data, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return nil
			}
			return data
		}
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return nil
		}
		message = message[n:]
	}
	return nil
}
