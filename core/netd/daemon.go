package netd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/daemon"
	"github.com/vzctl/vzctl/core/lock"
	netdv1 "github.com/vzctl/vzctl/core/proto/vzctl/netd/v1"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/launch"
	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// idleGrace is how long a network stays up with nobody on it: the next container often follows soon, and finds it there.
const idleGrace = 10 * time.Second

// failed is the exit code of a daemon whose last line says why it ended.
const failed = 1

// Record is what the engine writes for the daemon of a network.
type Record struct {
	Plugin string         `json:"plugin"` // path
	SHA256 string         `json:"sha256,omitempty"`
	Config network.Config `json:"config"`
}

// Main is the daemon: "vzctl netd --root DIR NAME". It returns the process's exit code.
func Main(args []string) int {
	flags := flag.NewFlagSet("netd", flag.ContinueOnError)
	root := flags.String("root", "", "directory of all that lasts")
	run := flags.String("run", "", "directory for sockets")
	debug := flags.Bool("debug", false, "say more in the log")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 || *root == "" || *run == "" {
		fmt.Fprintln(os.Stderr, "vzctl netd is started by vzctl itself")
		return 2
	}
	level := hclog.Info
	if *debug {
		level = hclog.Debug
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "netd", Level: level,
		Output: daemon.NewLog(store.Paths{Root: *root}.NetworkLog(flags.Arg(0)))})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx, *root, *run, flags.Arg(0), log); err != nil {
		// The last line, and nothing else in it: whoever started the daemon tells the user.
		fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", "; "))
		return failed
	}
	return 0
}

func serve(ctx context.Context, root, run, name string, log hclog.Logger) (err error) {
	inherited, err := daemon.Inherit(1)
	if err != nil {
		return err
	}
	var leaving departure
	// Starters wait until this process is gone, so the lock that they need is held beyond all that is done here.
	defer func() { runtime.KeepAlive(leaving.starting) }()
	defer func() { err = errors.Join(err, os.RemoveAll(run)) }()
	st, err := store.Open(root)
	if err != nil {
		return err
	}
	paths := st.Paths()
	var record Record
	if err := store.ReadJSON(paths.NetworkRecord(name), &record); err != nil {
		return err
	}
	record.Config.RuntimeDir, record.Config.StateDir = run, paths.NetworkState(name)
	start := func(ctx context.Context) (Plugin, error) { return startPlugin(ctx, record, log) }
	k, err := newKeeper(ctx, record.Config, start, log)
	if err != nil {
		return err
	}
	held := newLeases(name, k, log)
	server := grpc.NewServer(rpc.ServerOptions(log)...)
	netdv1.RegisterLeasesServer(server, held)
	network.Plugin(sdk.Info{Name: "netd"}, k).Register(server)
	broken := make(chan error, 2)
	go func() { broken <- server.Serve(inherited.Listeners[0]) }()
	go func() { broken <- k.watch() }()
	idle := make(chan departure, 1)
	go func() { idle <- leave(ctx, held, paths, name) }()
	select {
	case err = <-broken:
	case leaving = <-idle:
		if err = leaving.err; errors.Is(err, context.Canceled) {
			err = nil
		}
	}
	server.Stop()
	ending, cancel := context.WithTimeout(context.Background(), replayTimeout)
	defer cancel()
	return errors.Join(err, k.close(ending))
}

// leave returns once the network may end: nobody holds it, and, with the lock that starters take, nobody is about to.
func leave(ctx context.Context, held *leases, paths store.Paths, name string) departure {
	for {
		if err := held.awaitIdle(ctx, idleGrace); err != nil {
			return departure{err: err}
		}
		starting, err := lock.Acquire(ctx, paths.NetworkLock(name))
		if err != nil {
			return departure{err: err}
		}
		if since, idle := held.idleSince(); idle && time.Since(since) >= idleGrace {
			return departure{starting: starting}
		}
		if err := starting.Close(); err != nil {
			return departure{err: err}
		}
	}
}

// departure is how leave returned; starting is held from then on.
type departure struct {
	starting *lock.Lock
	err      error
}

// pluginProcess is a network plugin in its process.
type pluginProcess struct {
	network.Network
	*launch.Process
}

func startPlugin(ctx context.Context, record Record, log hclog.Logger) (Plugin, error) {
	process, err := launch.Start(ctx, launch.Options{
		Path: record.Plugin, Kind: sdk.Network, SHA256: record.SHA256, RuntimeDir: record.Config.RuntimeDir,
		Log: log.Named(filepath.Base(record.Plugin))})
	if err != nil {
		return nil, err
	}
	return &pluginProcess{network.NewClient(process.Conn(), process.Info()), process}, nil
}
