package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/vzctl/vzctl/sdk/launch"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

// startPlugin is what each start of a plugin costs: process, handshake, connection, first answer.
func startPlugin() row {
	return row{
		name: "plugin", what: "start of the plugin kernel-local to its first answer", reference: "bare exec of a Go program that answers the same gRPC call on a socket",
		measure: func(ctx context.Context, s *stage) (measured, error) {
			bare := s.path("answer")
			build := command(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bare, "./test/bench/answer")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if err := quiet(build); err != nil {
				return measured{}, err
			}
			return pairs(ctx, 3*s.count, s.launches("kernel-local"), s.answers(bare))
		},
	}
}

// launched starts one of vzctl's plugins; close ends it.
func (s *stage) launched(ctx context.Context, name string) (p *launch.Process, close func() error, err error) {
	dir, err := os.MkdirTemp(s.dir, "p")
	if err != nil {
		return nil, nil, err
	}
	path, err := filepath.Abs(filepath.Join("libexec/vzctl/plugins", name))
	if err == nil {
		p, err = launch.Start(ctx, launch.Options{Path: path, RuntimeDir: dir})
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, func() error { return errors.Join(p.Close(context.WithoutCancel(ctx)), os.RemoveAll(dir)) }, nil
}

func (s *stage) launches(name string) once {
	return func(ctx context.Context) (float64, error) {
		began := time.Now()
		_, close, err := s.launched(ctx, name)
		took := time.Since(began).Seconds()
		if err != nil {
			return 0, err
		}
		return took, close()
	}
}

// answers starts program, which says on stdout that it listens, and calls it once.
func (s *stage) answers(program string) once {
	return func(ctx context.Context) (took float64, err error) {
		socket := s.path("answer.sock")
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		began := time.Now()
		cmd := command(ctx, program, socket)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		defer func() {
			cancel()
			_ = cmd.Wait() // it was asked to end
			_ = os.Remove(socket)
		}()
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			return 0, fmt.Errorf("%s does not listen: %w", program, err)
		}
		conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return 0, err
		}
		_, err = pluginv1.NewPluginClient(conn).Info(ctx, &pluginv1.InfoRequest{})
		took = time.Since(began).Seconds()
		return took, errors.Join(err, conn.Close())
	}
}
