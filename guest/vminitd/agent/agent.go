// Package agent is the host's way to vminitd: the gRPC service vzctl.guest.v1.Agent (this file, containers.go), and the port of streams
// (streams.go). It converts and delegates; containers are package container's business, the machine's identity adopt.go's.
package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/vminitd/container"
	"github.com/vzctl/vzctl/guest/vminitd/failure"
	"github.com/vzctl/vzctl/guest/vminitd/identity"
	"github.com/vzctl/vzctl/guest/vminitd/netconf"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Ports, of vsock or its stand-in.
const (
	Port       = 1024 // gRPC
	StreamPort = 1025
	// ReadyPort is the host's; a connection to it says that the guest listens.
	ReadyPort = 1024
)

// Protocol versions of this guest.
const (
	protocolMin = 1
	protocolMax = 1
)

// Optional abilities: Freeze and Thaw, UpdateContainer, sockets of containers, ContainerStats, ListProcesses, limits of disks, the journal of the writable layer,
// CreateProcess that starts, CreateContainer that adopts and RunProcess, CreateProcess and RunProcess that tell all of a brief process, CreateProcess over a stream.
const (
	featureFreeze    = "freeze"
	featureUpdate    = "update"
	featureSockets   = "sockets"
	featureStats     = "stats"
	featureProcesses = "processes"
	featureIOLimits  = "io-limits"
	featureJournal   = "upper-journal"
	featureRun       = "run"
	featureBegin     = "begin"
	featureBrief     = "brief"
	featureBriefRun  = "brief-run"
	featureLaunch    = "launch"
)

// Agent serves one host.
type Agent struct {
	guestv1.UnimplementedAgentServer
	// Drawn is called when the machine has random numbers of its own, unless it is nil. To be set before the agent serves.
	Drawn   func() error
	version string
	started time.Duration // uptime at the start of vminitd
	runtime *container.Runtime
	// shutdown is closed once Shutdown has done its work.
	shutdown chan struct{}
	down     sync.Once

	mu         sync.Mutex // adoption; one at a time
	network    netconf.Network
	interfaces []netconf.Interface
	dns        netconf.DNS
}

// New returns an agent. started is the uptime when vminitd began.
func New(version string, started time.Duration, runtime *container.Runtime) *Agent {
	return &Agent{version: version, started: started, runtime: runtime, shutdown: make(chan struct{})}
}

// Server returns a gRPC server of the agent.
func (a *Agent) Server() *grpc.Server {
	s := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		// What is said is short. Otherwise each call is answered by a ping as well, to find out how large the windows should be.
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			response, err := handle(ctx, request)
			return response, toGRPC(err)
		}),
		grpc.StreamInterceptor(func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			return toGRPC(handle(server, stream))
		}))
	guestv1.RegisterAgentServer(s, a)
	return s
}

func toGRPC(err error) error { return fault.ToGRPC(asFault(err)) }

// asFault makes faults of the guest's own failures.
func asFault(err error) error {
	if f, ok := errors.AsType[*failure.Error](err); ok {
		if _, wrapped := errors.AsType[*fault.Error](err); !wrapped {
			err = &fault.Error{Reason: fault.Reason(f.Reason), Op: f.Op, Subject: f.Subject, Cause: f.Cause, Hint: f.Hint}
		}
	}
	return err
}

// maxMessage bounds a call, in bytes: an OCI runtime spec with the longest arguments and environment that execve takes, and room.
const maxMessage = 8 << 20

// window is how much of one call, and of all, may be on its way, in bytes.
const window = 1 << 20

// Done is closed once the host's Shutdown has done its work, and its answer is to be sent.
func (a *Agent) Done() <-chan struct{} { return a.shutdown }

// Hello exchanges versions. It comes before Adopt, so it must not use random numbers.
func (a *Agent) Hello(context.Context, *guestv1.HelloRequest) (*guestv1.HelloResponse, error) {
	return &guestv1.HelloResponse{Version: a.version, ProtocolMin: protocolMin, ProtocolMax: protocolMax,
		Features: []string{featureFreeze, featureUpdate, featureSockets, featureStats, featureProcesses, featureIOLimits, featureJournal, featureRun, featureBegin, featureBrief,
			featureBriefRun, featureLaunch},
		UptimeNanoseconds: uint64(identity.Uptime()), InitUptimeNanoseconds: uint64(a.started), Time: timestamppb.Now()}, nil
}
