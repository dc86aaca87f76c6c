package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/vminitd/cgroup"
	"github.com/vzctl/vzctl/guest/vminitd/container"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/phase"
	"github.com/vzctl/vzctl/guest/vminitd/power"
	"github.com/vzctl/vzctl/guest/vminitd/sockets"
	"github.com/vzctl/vzctl/guest/vminitd/sources"
	"github.com/vzctl/vzctl/guest/vminitd/stdio"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Prime has the machine know images' disks before there is a container.
func (a *Agent) Prime(ctx context.Context, r *guestv1.PrimeRequest) (*guestv1.PrimeResponse, error) {
	var lower []container.Disk
	for _, d := range r.Lower {
		lower = append(lower, container.Disk{Serial: d.GetSerial(), FileSystem: d.GetFileSystem()})
	}
	var upper *container.Disk
	if r.Upper != nil {
		upper = &container.Disk{Serial: r.Upper.Serial, FileSystem: r.Upper.FileSystem}
	}
	read, err := a.runtime.Prime(ctx, lower, upper, r.Reads)
	if err != nil {
		return nil, err
	}
	return &guestv1.PrimeResponse{ReadBytes: uint64(read)}, nil
}

// CreateContainer prepares a container.
func (a *Agent) CreateContainer(ctx context.Context, r *guestv1.CreateContainerRequest) (*guestv1.CreateContainerResponse, error) {
	ctx, watch := phase.Watched(ctx, r.ReportPhases)
	if r.Adopt != nil {
		if err := a.adopt(ctx, r.Adopt); err != nil {
			return nil, err
		}
	}
	request := container.Request{ID: r.ContainerId, ReadOnly: r.ReadOnly, Spec: r.OciSpec, User: r.User, Hostname: r.Hostname,
		Groups: r.Groups, Init: r.Init, Hosts: r.Hosts, ResolvConf: r.ResolvConf, InputEnded: r.InputEnded}
	if r.Seccomp != nil {
		request.Seccomp = &helper.Filter{Program: r.Seccomp.Program, Flags: r.Seccomp.Flags}
	}
	for _, s := range r.Sockets {
		request.Sockets = append(request.Sockets, sockets.Socket{ID: s.GetId(), Path: s.GetPath(), Listen: s.GetListen(), Mode: os.FileMode(s.GetMode()),
			Owned: s.Uid == nil && s.Gid == nil, UID: int(s.GetUid()), GID: int(s.GetGid())})
	}
	for _, d := range r.Lower {
		request.Lower = append(request.Lower, container.Disk{Serial: d.Serial, FileSystem: d.FileSystem})
	}
	if r.Upper != nil {
		request.Upper = &container.Disk{Serial: r.Upper.Serial, FileSystem: r.Upper.FileSystem, Journal: r.UpperJournal}
	}
	for _, s := range r.Sources {
		request.Sources = append(request.Sources, convertSource(s))
	}
	request.IOLimits = convertIOLimits(r.IoLimits)
	hosts, resolvConf, err := a.files(r.Hostname, r.ExtraHosts)
	if err != nil {
		return nil, err
	}
	if len(request.Hosts) == 0 {
		request.Hosts = hosts
	}
	if len(request.ResolvConf) == 0 {
		request.ResolvConf = resolvConf
	}
	if err := a.runtime.Create(ctx, request); err != nil {
		return nil, err
	}
	return &guestv1.CreateContainerResponse{Phases: convertPhases(watch)}, nil
}

func convertSource(s *guestv1.Source) sources.Source {
	source := sources.Source{Name: s.GetName()}
	if share := s.GetShare(); share != nil {
		source.Share = &sources.Share{Tag: share.Tag, Type: share.Type, ReadOnly: share.ReadOnly}
	}
	if v := s.GetVolume(); v != nil {
		source.Volume = &sources.Volume{Serial: v.GetDisk().GetSerial(), FileSystem: v.GetDisk().GetFileSystem(), ReadOnly: v.ReadOnly, Journal: v.Journal,
			CopyFrom: v.CopyFrom}
	}
	return source
}

func convertIOLimits(limits []*guestv1.IoLimit) (all []container.IOLimit) {
	for _, l := range limits {
		all = append(all, container.IOLimit{Source: l.GetSource(), Rates: cgroup.Rates{
			ReadBytes: l.GetReadBytes(), WriteBytes: l.GetWriteBytes(), ReadOperations: l.GetReadOperations(), WriteOperations: l.GetWriteOperations()}})
	}
	return all
}

// CreateProcess prepares an exec, and starts it if that is wanted.
func (a *Agent) CreateProcess(ctx context.Context, r *guestv1.CreateProcessRequest) (*guestv1.CreateProcessResponse, error) {
	response, err := a.createProcess(ctx, r)
	if response.GetExit() != nil {
		err = a.forget(r)
	}
	return response, err
}

// forget forgets a process of which all was told.
func (a *Agent) forget(r *guestv1.CreateProcessRequest) error {
	err := a.runtime.DeleteProcess(r.ContainerId, r.ProcessId)
	if errors.Is(err, fault.FailedPrecondition) { // its container is being deleted, which forgets all of it
		return nil
	}
	return err
}

// createProcess is CreateProcess, but leaves it to the caller to forget a process of which all is told.
func (a *Agent) createProcess(ctx context.Context, r *guestv1.CreateProcessRequest) (*guestv1.CreateProcessResponse, error) {
	spec, err := processSpec(r)
	if err != nil {
		return nil, err
	}
	p, err := a.runtime.CreateProcess(r.ContainerId, r.ProcessId, spec, r.User, r.InputEnded)
	if err != nil {
		return nil, err
	}
	if !r.Start {
		return &guestv1.CreateProcessResponse{}, nil
	}
	var patience time.Duration
	if r.InputEnded {
		patience = time.Duration(r.BriefMilliseconds) * time.Millisecond
	}
	brief, err := p.StartBrief(ctx, patience)
	switch {
	case err != nil:
		if deleteErr := a.runtime.DeleteProcess(r.ContainerId, r.ProcessId); deleteErr != nil {
			err = errors.Join(err, deleteErr)
		}
		return nil, err
	case brief == nil && patience > 0 && ctx.Err() != nil: // the host does not know of it
		return nil, errors.Join(ctx.Err(), a.discard(ctx, r))
	case brief == nil:
		return &guestv1.CreateProcessResponse{}, nil
	}
	return &guestv1.CreateProcessResponse{Exit: convertExit(brief.Exit), Stdout: brief.Stdout, Stderr: brief.Stderr}, nil
}

func processSpec(r *guestv1.CreateProcessRequest) (*specs.Process, error) {
	if plain := r.Plain; plain != nil {
		return &specs.Process{Args: plain.Args, Env: plain.Env, Cwd: plain.Cwd}, nil
	}
	return container.ParseProcess(r.OciProcess)
}

// discardPatience bounds how long a process that was killed may take to end.
const discardPatience = 10 * time.Second

// discard kills a process and forgets it.
func (a *Agent) discard(ctx context.Context, r *guestv1.CreateProcessRequest) error {
	p, err := a.runtime.Process(r.ContainerId, r.ProcessId)
	if err != nil {
		return err
	}
	if err := p.Signal(unix.SIGKILL); err != nil && !errors.Is(err, fault.FailedPrecondition) { // it has ended
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardPatience)
	defer cancel()
	if _, err := p.Wait(ctx); err != nil {
		return err
	}
	return a.runtime.DeleteProcess(r.ContainerId, r.ProcessId)
}

// StartProcess executes a process.
func (a *Agent) StartProcess(ctx context.Context, r *guestv1.StartProcessRequest) (*guestv1.StartProcessResponse, error) {
	ctx, watch := phase.Watched(ctx, r.ReportPhases)
	p, err := a.runtime.Process(r.ContainerId, r.ProcessId)
	if err != nil {
		return nil, err
	}
	pid, err := p.Start(ctx)
	if err != nil {
		return nil, err
	}
	return &guestv1.StartProcessResponse{Pid: int64(pid), Phases: convertPhases(watch)}, nil
}

// RunProcess executes a process, and waits for its end.
func (a *Agent) RunProcess(r *guestv1.RunProcessRequest, stream grpc.ServerStreamingServer[guestv1.RunProcessResponse]) error {
	ctx := stream.Context()
	started, err := a.StartProcess(ctx, &guestv1.StartProcessRequest{ContainerId: r.ContainerId, ProcessId: r.ProcessId, ReportPhases: r.ReportPhases})
	if err != nil {
		return err
	}
	if err := stream.Send(&guestv1.RunProcessResponse{Of: &guestv1.RunProcessResponse_Started{Started: started}}); err != nil {
		return err
	}
	p, err := a.runtime.Process(r.ContainerId, r.ProcessId)
	if err != nil {
		return err
	}
	exit, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	last := &guestv1.RunProcessResponse{Of: &guestv1.RunProcessResponse_Exit{Exit: convertExit(exit)}}
	if r.Brief && ctx.Err() == nil { // a caller that is gone may come again, for the streams
		if all := p.TakeOutput(); all != nil {
			last.Output = &guestv1.Output{Stdout: all.Stdout, Stderr: all.Stderr}
		}
	}
	return stream.Send(last)
}

// WaitProcess waits for the end of a process.
func (a *Agent) WaitProcess(ctx context.Context, r *guestv1.WaitProcessRequest) (*guestv1.WaitProcessResponse, error) {
	p, err := a.runtime.Process(r.ContainerId, r.ProcessId)
	if err != nil {
		return nil, err
	}
	exit, err := p.Wait(ctx)
	if err != nil {
		return nil, err
	}
	return &guestv1.WaitProcessResponse{Exit: convertExit(exit)}, nil
}

func convertExit(e container.Exit) *guestv1.Exit {
	return &guestv1.Exit{Code: int32(e.Code), Signal: int32(e.Signal), OomKilled: e.OOMKilled, Time: timestamppb.New(e.Time)}
}

const maxSignal = 64

// SignalProcess signals a process, or all of a container.
func (a *Agent) SignalProcess(_ context.Context, r *guestv1.SignalProcessRequest) (*guestv1.SignalProcessResponse, error) {
	if r.Signal < 1 || r.Signal > maxSignal {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "signal process", Subject: r.ProcessId, Cause: fmt.Errorf("there is no signal %d", r.Signal)}
	}
	if r.All {
		return &guestv1.SignalProcessResponse{}, a.runtime.SignalAll(r.ContainerId, unix.Signal(r.Signal))
	}
	p, err := a.runtime.Process(r.ContainerId, r.ProcessId)
	if err != nil {
		return nil, err
	}
	return &guestv1.SignalProcessResponse{}, p.Signal(unix.Signal(r.Signal))
}

// ResizeTerminal sizes a process's terminal.
func (a *Agent) ResizeTerminal(_ context.Context, r *guestv1.ResizeTerminalRequest) (*guestv1.ResizeTerminalResponse, error) {
	const most = 0xffff
	p, err := a.runtime.Process(r.ContainerId, r.ProcessId)
	if err != nil {
		return nil, err
	}
	return &guestv1.ResizeTerminalResponse{}, p.Resize(uint16(min(r.Width, most)), uint16(min(r.Height, most)))
}

// DeleteProcess forgets a process.
func (a *Agent) DeleteProcess(_ context.Context, r *guestv1.DeleteProcessRequest) (*guestv1.DeleteProcessResponse, error) {
	return &guestv1.DeleteProcessResponse{}, a.runtime.DeleteProcess(r.ContainerId, r.ProcessId)
}

// UpdateContainer changes limits.
func (a *Agent) UpdateContainer(_ context.Context, r *guestv1.UpdateContainerRequest) (*guestv1.UpdateContainerResponse, error) {
	return &guestv1.UpdateContainerResponse{}, a.runtime.Update(r.ContainerId, r.OciResources, convertIOLimits(r.IoLimits))
}

// DeleteContainer removes a container.
func (a *Agent) DeleteContainer(ctx context.Context, r *guestv1.DeleteContainerRequest) (*guestv1.DeleteContainerResponse, error) {
	return &guestv1.DeleteContainerResponse{}, a.runtime.Delete(ctx, r.ContainerId)
}

// ListContainers lists containers and their processes.
func (a *Agent) ListContainers(context.Context, *guestv1.ListContainersRequest) (*guestv1.ListContainersResponse, error) {
	response := &guestv1.ListContainersResponse{}
	for _, c := range a.runtime.List() {
		out := &guestv1.Container{Id: c.ID}
		for _, p := range c.Processes {
			process := &guestv1.Process{Id: p.ID, Pid: int64(p.Pid)}
			if p.Exit != nil {
				process.Exit = convertExit(*p.Exit)
			}
			out.Processes = append(out.Processes, process)
		}
		response.Containers = append(response.Containers, out)
	}
	return response, nil
}

// Freeze makes a container fit to be saved with the machine. Its disks are written out last, when nothing changes them any more.
func (a *Agent) Freeze(ctx context.Context, r *guestv1.FreezeRequest) (*guestv1.FreezeResponse, error) {
	input := stdio.Border{Bytes: r.InputBytes, Ended: r.InputEnded}
	if err := a.runtime.Freeze(ctx, r.ContainerId, input, r.LoseConnections); err != nil {
		return nil, err
	}
	power.Sync()
	return &guestv1.FreezeResponse{}, nil
}

// Thaw lets a container go on.
func (a *Agent) Thaw(_ context.Context, r *guestv1.ThawRequest) (*guestv1.ThawResponse, error) {
	return &guestv1.ThawResponse{}, a.runtime.Thaw(r.ContainerId)
}

// Watch sends events until the caller goes.
func (a *Agent) Watch(r *guestv1.WatchRequest, stream grpc.ServerStreamingServer[guestv1.WatchResponse]) error {
	events, stop := a.runtime.Watch(!r.OutOfMemoryOnly)
	defer stop()
	for {
		select {
		case e, open := <-events:
			if !open {
				return &fault.Error{Reason: fault.Unavailable, Op: "watch", Cause: errors.New("the watcher fell behind, or the VM shuts down")}
			}
			if err := sendEvent(stream, e); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func sendEvent(stream grpc.ServerStreamingServer[guestv1.WatchResponse], e container.Event) error {
	if e.OutOfMemory {
		return stream.Send(&guestv1.WatchResponse{ContainerId: e.Container, Event: &guestv1.WatchResponse_OutOfMemory{OutOfMemory: &guestv1.OutOfMemory{}}})
	}
	return stream.Send(&guestv1.WatchResponse{ContainerId: e.Container, ProcessId: e.Process,
		Event: &guestv1.WatchResponse_Exit{Exit: convertExit(e.Exit)}})
}
