// Package plugintest lets tests talk to a plugin the way a host does: [Dial] over gRPC inside the test's process, [Build] and package launch with a real
// process. The program in scripted is a plugin that misbehaves on demand.
package plugintest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// Dial serves p inside this process and returns a connection to it: conversions, errors and deadlines are those of a real plugin. It ends with the test.
func Dial(t testing.TB, p sdk.Plugin) grpc.ClientConnInterface {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(rpc.ServerOptions(hclog.NewNullLogger())...)
	p.Register(server)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:plugin",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		serving.Wait()
	})
	return rpc.Wrap(conn, rpc.Peer{Name: `plugin "` + p.Info().Name + `"`, Timeout: 30 * time.Second})
}
