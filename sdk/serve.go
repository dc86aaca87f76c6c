package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk/internal/wire"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// ShutdownTimeout is what a plugin has for its Shutdown or Close once the host is gone or wants it gone; then the process ends anyway.
const ShutdownTimeout = 10 * time.Second

// Serve answers a host until that ends or closes the lifeline, then cancels the contexts of all calls, shuts the plugin down, and ends the process. It does not return.
// Run by hand, it says what the program is; with the one argument --info it prints that as JSON.
func Serve(p Plugin) {
	if os.Getenv(wire.CookieKey) != wire.CookieValue {
		os.Exit(byHand(p.Info(), os.Args[1:], os.Stdout, os.Stderr))
	}
	log := NewLogger(p.Info().Name)
	s := &server{plugin: p, log: log, exit: os.Exit}
	lifeline, err := openLifeline()
	if err != nil {
		log.Error("the host gave no usable lifeline", "error", err)
		os.Exit(1)
	}
	go func() {
		<-hostGone(lifeline)
		s.stop()
	}()
	listener, err := listen()
	if err != nil {
		log.Error("cannot listen where the host wants it", "error", err)
		os.Exit(1)
	}
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // whoever interrupts a host means that; children are not to inherit that it is ignored
	if err := s.serve(listener); err != nil {
		log.Error("the socket is broken", "error", err)
	}
	s.stop()
	select {} // the process ends in stop, whoever called it first
}

// listen makes the plugin's socket, which is the only thing in its directory, and tells the host.
func listen() (net.Listener, error) {
	dir := os.Getenv(wire.SocketDir)
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("%s=%q is no absolute path", wire.SocketDir, dir)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "plugin"))
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(os.Stdout, wire.Line(listener.Addr().String())); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// byHand explains a plugin to somebody who ran it, and returns the exit code.
func byHand(info Info, args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == "--info" {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		if e.Encode(info) != nil {
			return 1
		}
		return 0
	}
	fmt.Fprintf(stderr, "%s %s is a %s plugin of vzctl and is started by it: put it into a directory of VZCTL_PLUGIN_PATH and see \"vzctl plugin ls\" (--info prints what it offers)\n",
		info.Name, info.Version, info.Kind)
	return 1
}

// server ends once, whoever asks for it: the lifeline, a signal, or the transport.
type server struct {
	plugin Plugin
	log    hclog.Logger
	exit   func(int)

	once sync.Once
	mu   sync.Mutex
	grpc *grpc.Server
}

// serve answers until stop.
func (s *server) serve(listener net.Listener) error {
	answering := grpc.NewServer(rpc.ServerOptions(s.log)...)
	s.plugin.Register(answering)
	s.mu.Lock()
	s.grpc = answering
	s.mu.Unlock()
	return answering.Serve(listener)
}

func (s *server) stop() {
	s.once.Do(func() {
		// Whatever hangs below, the process ends.
		time.AfterFunc(ShutdownTimeout+time.Second, func() { s.exit(1) })
		s.mu.Lock()
		if s.grpc != nil {
			s.grpc.Stop()
		}
		s.mu.Unlock()
		if err := shutdown(s.plugin.impl); err != nil {
			s.log.Error("shutdown failed", "error", err)
			s.exit(1)
		}
		s.exit(0)
	})
}

func shutdown(impl any) error {
	ctx, cancel := context.WithTimeout(context.Background(), ShutdownTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		switch i := impl.(type) {
		case interface{ Shutdown(context.Context) error }:
			done <- i.Shutdown(ctx)
		case io.Closer:
			done <- i.Close()
		default:
			done <- nil
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("not done after %s", ShutdownTimeout)
	}
}

// hostGone is closed when the lifeline ends or the process is asked to end. The kernel asks with SIGTERM when the host dies, see package launch.
func hostGone(lifeline *os.File) <-chan struct{} {
	gone := make(chan struct{})
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	ended := make(chan struct{})
	if lifeline != nil {
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, lifeline)
		}()
	}
	go func() {
		defer close(gone)
		select {
		case <-terminate:
		case <-ended:
		}
	}()
	return gone
}
