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

// Client is a hypervisor in another process. Optional calls that the plugin does not offer fail with fault.Unsupported.
type Client struct {
	rpc  hypervisorv1.HypervisorClient
	info sdk.Info
}

var (
	_ Hypervisor  = (*Client)(nil)
	_ Pauser      = (*Client)(nil)
	_ Attacher    = (*Client)(nil)
	_ Resizer     = (*Client)(nil)
	_ Snapshotter = (*Client)(nil)
	_ Templater   = (*Client)(nil)
)

// NewClient returns the hypervisor at the other end of a connection from package launch or plugintest. What it answers is checked for form; whether
// paths lie where they should is the caller's to check, see package hostpath.
func NewClient(conn grpc.ClientConnInterface, info sdk.Info) *Client {
	return &Client{rpc: hypervisorv1.NewHypervisorClient(conn), info: info}
}

func (c *Client) need(op, feature string) error {
	if c.info.Offers(CapabilityFeature, feature) {
		return nil
	}
	return missing(op, feature)
}

type vmHolder interface{ GetVm() *hypervisorv1.VM }

// answered checks the VM of an answer.
func answered(r vmHolder, err error, id string) (VM, error) {
	if err != nil {
		return VM{}, err
	}
	check := convert.Answer()
	vm := vmFromProto(check, r.GetVm(), id)
	return vm, check.Err()
}

// Create implements Hypervisor.
func (c *Client) Create(ctx context.Context, requestID string, spec Spec) (VM, error) {
	r, err := c.rpc.Create(ctx, &hypervisorv1.CreateRequest{RequestId: requestID, Spec: specToProto(spec)})
	return answered(r, err, spec.ID)
}

// Start implements Hypervisor.
func (c *Client) Start(ctx context.Context, id string) (VM, error) {
	r, err := c.rpc.Start(ctx, &hypervisorv1.StartRequest{Id: id})
	return answered(r, err, id)
}

// Stop implements Hypervisor.
func (c *Client) Stop(ctx context.Context, id string, mode StopMode) (VM, error) {
	r, err := c.rpc.Stop(ctx, &hypervisorv1.StopRequest{Id: id, Mode: stopModes.ToWire(mode)})
	return answered(r, err, id)
}

// Delete implements Hypervisor.
func (c *Client) Delete(ctx context.Context, requestID, id string) error {
	_, err := c.rpc.Delete(ctx, &hypervisorv1.DeleteRequest{RequestId: requestID, Id: id})
	return err
}

// Get implements Hypervisor.
func (c *Client) Get(ctx context.Context, id string) (VM, error) {
	r, err := c.rpc.Get(ctx, &hypervisorv1.GetRequest{Id: id})
	return answered(r, err, id)
}

// List implements Hypervisor.
func (c *Client) List(ctx context.Context) ([]VM, error) {
	r, err := c.rpc.List(ctx, &hypervisorv1.ListRequest{})
	if err != nil {
		return nil, err
	}
	check := convert.Answer()
	list := convert.Slice(r.GetVms(), func(v *hypervisorv1.VM) VM { return vmFromProto(check, v, "") })
	return list, check.Err()
}

// Watch implements Hypervisor.
func (c *Client) Watch(ctx context.Context, id string, event func(VM)) error {
	open := func(ctx context.Context) (grpc.ServerStreamingClient[hypervisorv1.WatchResponse], error) {
		return c.rpc.Watch(ctx, &hypervisorv1.WatchRequest{Id: id})
	}
	return streaming.Events(ctx, open, func(m *hypervisorv1.WatchResponse) error {
		vm, err := answered(m, nil, id)
		if err == nil {
			event(vm)
		}
		return err
	})
}

// Pause implements Pauser.
func (c *Client) Pause(ctx context.Context, id string) error {
	if err := c.need("pause", FeaturePause); err != nil {
		return err
	}
	_, err := c.rpc.Pause(ctx, &hypervisorv1.PauseRequest{Id: id})
	return err
}

// Resume implements Pauser.
func (c *Client) Resume(ctx context.Context, id string) error {
	if err := c.need("resume", FeaturePause); err != nil {
		return err
	}
	_, err := c.rpc.Resume(ctx, &hypervisorv1.ResumeRequest{Id: id})
	return err
}

// AttachDevice implements Attacher.
func (c *Client) AttachDevice(ctx context.Context, requestID, id string, device Device) error {
	if err := c.need("attach device", FeatureHotplug); err != nil {
		return err
	}
	_, err := c.rpc.AttachDevice(ctx, &hypervisorv1.AttachDeviceRequest{RequestId: requestID, Id: id, Device: deviceToProto(device)})
	return err
}

// DetachDevice implements Attacher.
func (c *Client) DetachDevice(ctx context.Context, requestID, id, deviceID string) error {
	if err := c.need("detach device", FeatureHotplug); err != nil {
		return err
	}
	_, err := c.rpc.DetachDevice(ctx, &hypervisorv1.DetachDeviceRequest{RequestId: requestID, Id: id, DeviceId: deviceID})
	return err
}

// Resize implements Resizer.
func (c *Client) Resize(ctx context.Context, id string, cpus uint32, memoryBytes uint64) error {
	if err := c.need("resize", FeatureResize); err != nil {
		return err
	}
	_, err := c.rpc.Resize(ctx, &hypervisorv1.ResizeRequest{Id: id, Cpus: cpus, MemoryBytes: memoryBytes})
	return err
}

// Snapshot implements Snapshotter.
func (c *Client) Snapshot(ctx context.Context, requestID, id, directory string, report progress.Func) (uint64, error) {
	if err := c.need("snapshot", FeatureSnapshot); err != nil {
		return 0, err
	}
	open := func(ctx context.Context) (grpc.ServerStreamingClient[hypervisorv1.SnapshotResponse], error) {
		return c.rpc.Snapshot(ctx, &hypervisorv1.SnapshotRequest{RequestId: requestID, Id: id, Directory: directory})
	}
	split := func(m *hypervisorv1.SnapshotResponse) (*pluginv1.Progress, *hypervisorv1.SnapshotResult) {
		return m.GetProgress(), m.GetResult()
	}
	result, err := streaming.Await(ctx, open, split, report)
	return result.GetSizeBytes(), err
}

// Restore implements Snapshotter.
func (c *Client) Restore(ctx context.Context, requestID, directory string, spec Spec) (VM, error) {
	if err := c.need("restore", FeatureSnapshot); err != nil {
		return VM{}, err
	}
	r, err := c.rpc.Restore(ctx, &hypervisorv1.RestoreRequest{RequestId: requestID, Directory: directory, Spec: specToProto(spec)})
	return answered(r, err, spec.ID)
}

// Templates implements Templater.
func (c *Client) Templates(ctx context.Context, cacheDir string) ([]Template, error) {
	if err := c.need("list templates", FeatureTemplate); err != nil {
		return nil, err
	}
	r, err := c.rpc.ListTemplates(ctx, &hypervisorv1.ListTemplatesRequest{CacheDir: cacheDir})
	if err != nil {
		return nil, err
	}
	check := convert.Answer()
	list := convert.Slice(r.GetTemplates(), func(t *hypervisorv1.Template) Template { return templateFromProto(check, t) })
	return list, check.Err()
}

// RemoveTemplate implements Templater.
func (c *Client) RemoveTemplate(ctx context.Context, cacheDir, id string) error {
	if err := c.need("remove template", FeatureTemplate); err != nil {
		return err
	}
	_, err := c.rpc.RemoveTemplate(ctx, &hypervisorv1.RemoveTemplateRequest{CacheDir: cacheDir, Id: id})
	return err
}

// VerifyTemplate implements Templater.
func (c *Client) VerifyTemplate(ctx context.Context, cacheDir, id string) (VerifiedTemplate, error) {
	if err := c.need("verify template", FeatureTemplate); err != nil {
		return VerifiedTemplate{}, err
	}
	r, err := c.rpc.VerifyTemplate(ctx, &hypervisorv1.VerifyTemplateRequest{CacheDir: cacheDir, Id: id})
	if err != nil {
		return VerifiedTemplate{}, err
	}
	return verifiedFromProto(r), nil
}
