// Package agent is the host's side of the guest's agent: connections over hybrid vsock, the exchange of versions, and the streams of
// processes. It trusts nothing the guest says: sizes are bounded, and what a guest answers is data, never a path or a command.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// Ports of the guest, and the port of the host on which the guest says that it is ready.
const (
	AgentPort  = 1024
	StreamPort = 1025
	ReadyPort  = 1024
)

// Protocol versions this host speaks.
const (
	protocolMin = 1
	protocolMax = 1
)

// InitProcess is the id of a container's first process.
const InitProcess = "init"

// maxMessage bounds a message of the guest, in bytes. Control messages are small; bytes go over streams.
const maxMessage = 1 << 20

// maxHeaders bounds the headers of an answer, which errors travel in.
const maxHeaders = 64 << 10

// window is how much of one call's answer, and of all, may be on its way, in bytes.
const window = 1 << 20

// Client speaks to one guest. It is safe for use by several goroutines.
type Client struct {
	guestv1.AgentClient
	// Greeting is what the guest said of itself or, if it is Known, what one like it has said before.
	Greeting Greeting
	Known    bool

	initAt, answeredAt time.Duration // what its clock showed, zero of one that was not asked

	vsockPath string
	conn      *grpc.ClientConn
	launching launching
}

// Dial connects to the agent behind a hybrid vsock socket, waiting for the guest to boot until ctx ends, and exchanges versions.
// version is the host program's, for people.
func Dial(ctx context.Context, vsockPath, version string) (*Client, error) {
	return DialKnown(ctx, vsockPath, version, func() (Greeting, bool) { return Greeting{}, false })
}

// DialKnown is Dial, but no versions are exchanged if known returns what a guest like this one has said, in a protocol that this host speaks. It is called once, while
// the guest is waited for. Whether such a guest answers calls the first of them tells.
func DialKnown(ctx context.Context, vsockPath, version string, known func() (Greeting, bool)) (*Client, error) {
	looked := make(chan *Greeting, 1)
	go func() {
		if g, ok := known(); ok && g.check() == nil {
			looked <- &g
		}
		close(looked)
	}()
	// The first connection is made here, so that waiting for the boot is this call's to do and gRPC's clocks start after it.
	first, err := DialPort(ctx, vsockPath, AgentPort)
	if err != nil {
		return nil, err
	}
	ready := make(chan net.Conn, 1)
	ready <- first
	dialer := func(ctx context.Context, _ string) (net.Conn, error) {
		select {
		case conn := <-ready:
			return conn, nil
		default:
			return DialPort(ctx, vsockPath, AgentPort)
		}
	}
	conn, err := grpc.NewClient("passthrough:///guest",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dialer),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)), grpc.WithMaxHeaderListSize(maxHeaders),
		// Otherwise each answer is followed by a ping, to find out how large the windows should be: a millisecond of an emulated guest's time.
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: time.Minute}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the guest's agent: %w", err), first.Close())
	}
	c := &Client{AgentClient: guestv1.NewAgentClient(rpc.Wrap(conn, rpc.Peer{Name: "the guest's agent"})), vsockPath: vsockPath, conn: conn}
	if g := <-looked; g != nil {
		c.Greeting, c.Known = *g, true
	} else if err := c.hello(ctx, version); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

func (c *Client) hello(ctx context.Context, version string) error {
	answer, err := c.AgentClient.Hello(ctx, &guestv1.HelloRequest{Version: version, ProtocolMin: protocolMin, ProtocolMax: protocolMax})
	if err != nil {
		return fmt.Errorf("exchange versions with the guest's agent: %w", err)
	}
	c.Greeting = greetingOf(answer)
	const longest = uint64(24 * time.Hour) // a restored guest may be older; it is for people only
	answered := min(answer.UptimeNanoseconds, longest)
	c.initAt, c.answeredAt = time.Duration(min(answer.InitUptimeNanoseconds, answered)), time.Duration(answered)
	return c.Greeting.check()
}

// Answers returns once the agent has answered, and what its clock showed then; zero if it does not say. It changes nothing in the guest.
func (c *Client) Answers(ctx context.Context) (time.Time, error) {
	answer, err := c.AgentClient.Hello(ctx, &guestv1.HelloRequest{ProtocolMin: protocolMin, ProtocolMax: protocolMax})
	if err != nil || answer.Time == nil || answer.Time.CheckValid() != nil {
		return time.Time{}, err
	}
	return answer.Time.AsTime(), nil
}

// Offers reports whether the guest has an optional ability.
func (c *Client) Offers(feature string) bool { return c.Greeting.Offers(feature) }

// Booted tells how long after the start of its kernel the guest's init ran, and when it answered the first call; zero of a guest that is Known.
func (c *Client) Booted() (initAt, answeredAt time.Duration) { return c.initAt, c.answeredAt }

// Close ends the connection to the agent. Streams go on.
func (c *Client) Close() error { return errors.Join(c.launching.close(), c.conn.Close()) }

// bounded makes a text of the guest fit to be shown: it may be long, and steer terminals.
func bounded(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
