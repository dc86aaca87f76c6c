// Package rpc is the one adapter between gRPC and the errors, deadlines and lives of vzctl's processes. Every server and every client of a plugin
// uses it, whatever the kind. Start with client.go.
//
// It knows no process: who starts and watches one is package launch.
package rpc

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk/fault"
)

// MaxMessage is the largest message, in bytes, that either side takes. Bytes of images, disks and packets do not travel in messages, so what is
// larger is a fault.
const MaxMessage = 16 << 20

// ServerOptions make a gRPC server send errors as package fault has them and answer a panic in one call with an error to it; the stack goes to log.
func ServerOptions(log hclog.Logger) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
			defer func() { err = fault.ToGRPC(recovered(recover(), err, info.FullMethod, log)) }()
			return handle(ctx, request)
		}),
		grpc.ChainStreamInterceptor(func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
			defer func() { err = fault.ToGRPC(recovered(recover(), err, info.FullMethod, log)) }()
			return handle(server, stream)
		}),
	}
}

func recovered(p any, err error, method string, log hclog.Logger) error {
	if p == nil {
		return err
	}
	log.Error("panic in a call", "method", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return &fault.Error{Reason: fault.Internal, Op: operation(method), Cause: fmt.Errorf("panic: %v", p), Hint: "the plugin's log has the stack; please report it"}
}
