// Command vminitd is the first process of every VM and, executed again, the helper that becomes a container's process. It is the only program
// of the initial RAM disk. See docs/guest.md; start with run below.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/guest/vminitd/agent"
	"github.com/vzctl/vzctl/guest/vminitd/boot"
	"github.com/vzctl/vzctl/guest/vminitd/cgroup"
	"github.com/vzctl/vzctl/guest/vminitd/container"
	"github.com/vzctl/vzctl/guest/vminitd/disk"
	"github.com/vzctl/vzctl/guest/vminitd/identity"
	"github.com/vzctl/vzctl/guest/vminitd/power"
	"github.com/vzctl/vzctl/guest/vminitd/reap"
	"github.com/vzctl/vzctl/guest/vminitd/rehearsal"
	"github.com/vzctl/vzctl/guest/vminitd/stdio"
	"github.com/vzctl/vzctl/guest/vminitd/transport"
)

// version is set by the build (-X main.version=).
var version = "dev"

// answerPatience is how long the answer to Shutdown may take on its way: a host that is busy reads late, and without the answer must take it that something is lost. One that
// has it ends the machine.
const answerPatience = 5 * time.Second

func main() { // not of the helper, which package helper keeps from getting here
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "vminitd: this is the first process of a VM and does nothing elsewhere")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vminitd:", err) // the console, whose last words reach the user
	}
	power.Sync()
	power.Off()
}

// run serves the host until it says Shutdown.
func run() error {
	started := identity.Uptime()
	if err := errors.Join(boot.Setup(), stdio.EnlargePages()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	reaper := reap.New()
	go reaper.Run(ctx)
	way := transport.Find()
	control, err := way.Listen(agent.Port)
	if err != nil {
		return err
	}
	streams, err := way.Listen(agent.StreamPort)
	if err != nil {
		return err
	}
	failed := make(chan error, 3)
	runtime := container.NewRuntime(reaper, disk.New(), cgroup.Setup, way.Dial)
	placeCode := boot.PlaceCode
	if rehearsal.Wanted() {
		if err := boot.PlaceCode(); err != nil { // in common with all copies, which have what is translated of it
			return err
		}
		placeCode = nil
		if err := rehearsal.Run(ctx, version, started, runtime); errors.Is(err, rehearsal.ErrNotUndone) {
			return err
		} else if err != nil {
			fmt.Fprintln(os.Stderr, "vminitd: rehearse in full:", err)
		}
	}
	guest := agent.New(version, started, runtime)
	guest.Drawn = placeCode
	server := guest.Server()
	go func() { failed <- server.Serve(control) }()
	if err := guest.Rehearse(server); err != nil {
		fmt.Fprintln(os.Stderr, "vminitd: rehearse:", err) // the host will see whether it matters
	}
	<-runtime.Ready() // the state of a machine that waits for its host may be what others are cloned from
	go func() { failed <- guest.ServeStreams(ctx, streams) }()
	boot.Settle()
	way.Hint(ctx, agent.ReadyPort)
	go func() { failed <- way.Serve(ctx) }()
	select {
	case <-guest.Done():
		finish(server)
		return nil
	case err := <-failed:
		return errors.Join(errors.New("lost the way to the host"), err)
	}
}

// finish lets the answer to Shutdown out.
func finish(server *grpc.Server) {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		server.GracefulStop()
	}()
	select {
	case <-sent:
	case <-time.After(answerPatience):
	}
}
