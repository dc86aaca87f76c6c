package hypervisor

import (
	"context"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/streaming"
	"github.com/vzctl/vzctl/sdk/progress"
	hypervisorv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/hypervisor/v1"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

// Plugin makes an implementation ready for sdk.Serve. Optional interfaces ([Pauser], [Attacher], [Resizer], [Snapshotter], [Templater]) are served if impl has them.
func Plugin(info sdk.Info, impl Hypervisor) sdk.Plugin {
	return sdk.NewPlugin(sdk.Hypervisor, info, impl, func(r grpc.ServiceRegistrar) {
		hypervisorv1.RegisterHypervisorServer(r, &server{impl: impl})
	})
}

type server struct {
	hypervisorv1.UnimplementedHypervisorServer
	impl Hypervisor
}

// missing is the refusal of an optional call; op says it to people.
func missing(op, feature string) error {
	return convert.Missing(op, CapabilityFeature+" "+feature)
}

func (s *server) Create(ctx context.Context, r *hypervisorv1.CreateRequest) (*hypervisorv1.CreateResponse, error) {
	vm, err := s.impl.Create(ctx, r.GetRequestId(), specFromProto(r.GetSpec()))
	if err != nil {
		return nil, err
	}
	return &hypervisorv1.CreateResponse{Vm: vmToProto(vm)}, nil
}

func (s *server) Start(ctx context.Context, r *hypervisorv1.StartRequest) (*hypervisorv1.StartResponse, error) {
	vm, err := s.impl.Start(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &hypervisorv1.StartResponse{Vm: vmToProto(vm)}, nil
}

func (s *server) Stop(ctx context.Context, r *hypervisorv1.StopRequest) (*hypervisorv1.StopResponse, error) {
	mode := stopModes.FromWire(r.GetMode())
	if r.GetMode() == hypervisorv1.StopMode_STOP_MODE_UNSPECIFIED {
		mode = Kill
	}
	if mode == "" {
		check := convert.Request()
		check.Fail("stop mode", r.GetMode().String(), "is unknown")
		return nil, check.Err()
	}
	vm, err := s.impl.Stop(ctx, r.GetId(), mode)
	if err != nil {
		return nil, err
	}
	return &hypervisorv1.StopResponse{Vm: vmToProto(vm)}, nil
}

func (s *server) Pause(ctx context.Context, r *hypervisorv1.PauseRequest) (*hypervisorv1.PauseResponse, error) {
	pauser, ok := s.impl.(Pauser)
	if !ok {
		return nil, missing("pause", FeaturePause)
	}
	if err := pauser.Pause(ctx, r.GetId()); err != nil {
		return nil, err
	}
	return &hypervisorv1.PauseResponse{}, nil
}

func (s *server) Resume(ctx context.Context, r *hypervisorv1.ResumeRequest) (*hypervisorv1.ResumeResponse, error) {
	pauser, ok := s.impl.(Pauser)
	if !ok {
		return nil, missing("resume", FeaturePause)
	}
	if err := pauser.Resume(ctx, r.GetId()); err != nil {
		return nil, err
	}
	return &hypervisorv1.ResumeResponse{}, nil
}

func (s *server) Delete(ctx context.Context, r *hypervisorv1.DeleteRequest) (*hypervisorv1.DeleteResponse, error) {
	if err := s.impl.Delete(ctx, r.GetRequestId(), r.GetId()); err != nil {
		return nil, err
	}
	return &hypervisorv1.DeleteResponse{}, nil
}

func (s *server) Get(ctx context.Context, r *hypervisorv1.GetRequest) (*hypervisorv1.GetResponse, error) {
	vm, err := s.impl.Get(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	return &hypervisorv1.GetResponse{Vm: vmToProto(vm)}, nil
}

func (s *server) List(ctx context.Context, _ *hypervisorv1.ListRequest) (*hypervisorv1.ListResponse, error) {
	list, err := s.impl.List(ctx)
	if err != nil {
		return nil, err
	}
	return &hypervisorv1.ListResponse{Vms: convert.Slice(list, vmToProto)}, nil
}

func (s *server) Watch(r *hypervisorv1.WatchRequest, stream grpc.ServerStreamingServer[hypervisorv1.WatchResponse]) error {
	return streaming.Watch(stream, func(ctx context.Context, send func(*hypervisorv1.WatchResponse)) error {
		return s.impl.Watch(ctx, r.GetId(), func(vm VM) { send(&hypervisorv1.WatchResponse{Vm: vmToProto(vm)}) })
	})
}

func (s *server) AttachDevice(ctx context.Context, r *hypervisorv1.AttachDeviceRequest) (*hypervisorv1.AttachDeviceResponse, error) {
	attacher, ok := s.impl.(Attacher)
	if !ok {
		return nil, missing("attach device", FeatureHotplug)
	}
	if err := attacher.AttachDevice(ctx, r.GetRequestId(), r.GetId(), deviceFromProto(r.GetDevice())); err != nil {
		return nil, err
	}
	return &hypervisorv1.AttachDeviceResponse{}, nil
}

func (s *server) DetachDevice(ctx context.Context, r *hypervisorv1.DetachDeviceRequest) (*hypervisorv1.DetachDeviceResponse, error) {
	attacher, ok := s.impl.(Attacher)
	if !ok {
		return nil, missing("detach device", FeatureHotplug)
	}
	if err := attacher.DetachDevice(ctx, r.GetRequestId(), r.GetId(), r.GetDeviceId()); err != nil {
		return nil, err
	}
	return &hypervisorv1.DetachDeviceResponse{}, nil
}

func (s *server) Resize(ctx context.Context, r *hypervisorv1.ResizeRequest) (*hypervisorv1.ResizeResponse, error) {
	resizer, ok := s.impl.(Resizer)
	if !ok {
		return nil, missing("resize", FeatureResize)
	}
	if err := resizer.Resize(ctx, r.GetId(), r.GetCpus(), r.GetMemoryBytes()); err != nil {
		return nil, err
	}
	return &hypervisorv1.ResizeResponse{}, nil
}

func (s *server) Snapshot(r *hypervisorv1.SnapshotRequest, stream grpc.ServerStreamingServer[hypervisorv1.SnapshotResponse]) error {
	snapshotter, ok := s.impl.(Snapshotter)
	if !ok {
		return missing("snapshot", FeatureSnapshot)
	}
	wrap := func(p *pluginv1.Progress) *hypervisorv1.SnapshotResponse {
		return &hypervisorv1.SnapshotResponse{Of: &hypervisorv1.SnapshotResponse_Progress{Progress: p}}
	}
	return streaming.Serve(stream, wrap, func(report progress.Func) (*hypervisorv1.SnapshotResponse, error) {
		size, err := snapshotter.Snapshot(stream.Context(), r.GetRequestId(), r.GetId(), r.GetDirectory(), report)
		return &hypervisorv1.SnapshotResponse{Of: &hypervisorv1.SnapshotResponse_Result{Result: &hypervisorv1.SnapshotResult{SizeBytes: size}}}, err
	})
}

func (s *server) Restore(ctx context.Context, r *hypervisorv1.RestoreRequest) (*hypervisorv1.RestoreResponse, error) {
	snapshotter, ok := s.impl.(Snapshotter)
	if !ok {
		return nil, missing("restore", FeatureSnapshot)
	}
	vm, err := snapshotter.Restore(ctx, r.GetRequestId(), r.GetDirectory(), specFromProto(r.GetSpec()))
	if err != nil {
		return nil, err
	}
	return &hypervisorv1.RestoreResponse{Vm: vmToProto(vm)}, nil
}

func (s *server) ListTemplates(ctx context.Context, r *hypervisorv1.ListTemplatesRequest) (*hypervisorv1.ListTemplatesResponse, error) {
	templater, ok := s.impl.(Templater)
	if !ok {
		return nil, missing("list templates", FeatureTemplate)
	}
	list, err := templater.Templates(ctx, r.GetCacheDir())
	if err != nil {
		return nil, err
	}
	return &hypervisorv1.ListTemplatesResponse{Templates: convert.Slice(list, templateToProto)}, nil
}

func (s *server) RemoveTemplate(ctx context.Context, r *hypervisorv1.RemoveTemplateRequest) (*hypervisorv1.RemoveTemplateResponse, error) {
	templater, ok := s.impl.(Templater)
	if !ok {
		return nil, missing("remove template", FeatureTemplate)
	}
	if err := templater.RemoveTemplate(ctx, r.GetCacheDir(), r.GetId()); err != nil {
		return nil, err
	}
	return &hypervisorv1.RemoveTemplateResponse{}, nil
}

func (s *server) VerifyTemplate(ctx context.Context, r *hypervisorv1.VerifyTemplateRequest) (*hypervisorv1.VerifyTemplateResponse, error) {
	templater, ok := s.impl.(Templater)
	if !ok {
		return nil, missing("verify template", FeatureTemplate)
	}
	verified, err := templater.VerifyTemplate(ctx, r.GetCacheDir(), r.GetId())
	if err != nil {
		return nil, err
	}
	return verifiedToProto(verified), nil
}
