// Command answer is the least that answers a gRPC call: it listens on the unix socket it is given, says so by an empty line, and serves until it is
// interrupted. The benchmark of a plugin's start compares with it.
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc"

	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

type answerer struct {
	pluginv1.UnimplementedPluginServer
}

func (answerer) Info(context.Context, *pluginv1.InfoRequest) (*pluginv1.InfoResponse, error) {
	return &pluginv1.InfoResponse{}, nil
}

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "answer:", err)
		os.Exit(1)
	}
	fmt.Println()
	server := grpc.NewServer()
	pluginv1.RegisterPluginServer(server, answerer{})
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, "answer:", err)
		os.Exit(1)
	}
}
