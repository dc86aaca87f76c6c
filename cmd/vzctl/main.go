// Command vzctl runs Linux containers, each in a virtual machine of its own. It is its own supervisor and network daemon too: the engine
// starts "vzctl supervise" and "vzctl netd", which no person calls. The commands are in package command.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/cmd/vzctl/command"
	"github.com/vzctl/vzctl/core/netd"
	"github.com/vzctl/vzctl/core/supervisor"
)

// version is set when a release is linked: -X main.version=1.2.3
var version = "dev"

func main() {
	keepInherited()
	if len(os.Args) > 1 {
		// Before anything of a command line is made: a container waits for these to start.
		switch os.Args[1] {
		case "supervise":
			os.Exit(supervisor.Main(os.Args[2:]))
		case "netd":
			os.Exit(netd.Main(os.Args[2:]))
		}
	}
	debug.SetGCPercent(garbage)
	os.Exit(command.Run(context.Background(), command.Host{
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		LookupEnv: os.LookupEnv,
		Now:       time.Now,
		Version:   version,
		Signals:   signals(),
		Exit:      os.Exit,
		Open:      open,
		Verify:    verify,
	}, os.Args))
}

// garbage is how much of it there may be, in percent of what is in use, before it is collected: the first time at 16 MB instead of 4, which a command that starts
// a container does not reach.
const garbage = 400

// signals are those that end a program unless it objects, and that a container may want. Those the caller had us ignore, as nohup does, stay
// ignored.
func signals() <-chan os.Signal {
	// With a handler, writing to a closed pipe is an error and not the end: the container must be ended first. Ignored
	// instead, it would be ignored by the programs we start too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	asked := make(chan os.Signal, 8)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		if !signal.Ignored(s) {
			signal.Notify(asked, s)
		}
	}
	return asked
}
