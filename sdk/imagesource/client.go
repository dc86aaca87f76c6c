package imagesource

import (
	"context"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/streaming"
	"github.com/vzctl/vzctl/sdk/progress"
	imagesourcev1 "github.com/vzctl/vzctl/sdk/proto/vzctl/imagesource/v1"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

// Client is an image source in another process. Optional calls that the plugin does not offer fail with fault.Unsupported.
type Client struct {
	rpc  imagesourcev1.ImageSourceClient
	info sdk.Info
}

var (
	_ Source            = (*Client)(nil)
	_ Pusher            = (*Client)(nil)
	_ TagLister         = (*Client)(nil)
	_ CredentialChecker = (*Client)(nil)
)

// NewClient returns the source at the other end of a connection from package launch or plugintest. Digests it answers are well formed; whether blobs match
// theirs is the caller's to check.
func NewClient(conn grpc.ClientConnInterface, info sdk.Info) *Client {
	return &Client{rpc: imagesourcev1.NewImageSourceClient(conn), info: info}
}

func (c *Client) need(op, operation string) error {
	if c.info.Offers(CapabilityOperation, operation) {
		return nil
	}
	return missing(op, operation)
}

// Resolve implements Source.
func (c *Client) Resolve(ctx context.Context, request ResolveRequest) (Resolved, error) {
	r, err := c.rpc.Resolve(ctx, resolveToProto(request))
	if err != nil {
		return Resolved{}, err
	}
	check := convert.Answer()
	resolved := resolvedFromProto(check, r)
	return resolved, check.Err()
}

// Pull implements Source.
func (c *Client) Pull(ctx context.Context, request PullRequest, report progress.Func) (Pulled, error) {
	open := func(ctx context.Context) (grpc.ServerStreamingClient[imagesourcev1.PullResponse], error) {
		return c.rpc.Pull(ctx, pullToProto(request))
	}
	split := func(m *imagesourcev1.PullResponse) (*pluginv1.Progress, *imagesourcev1.PullResult) {
		return m.GetProgress(), m.GetResult()
	}
	r, err := streaming.Await(ctx, open, split, report)
	if err != nil {
		return Pulled{}, err
	}
	check := convert.Answer()
	pulled := pulledFromProto(check, r)
	return pulled, check.Err()
}

// Push implements Pusher.
func (c *Client) Push(ctx context.Context, request PushRequest, report progress.Func) (Pushed, error) {
	if err := c.need("push", OperationPush); err != nil {
		return Pushed{}, err
	}
	open := func(ctx context.Context) (grpc.ServerStreamingClient[imagesourcev1.PushResponse], error) {
		return c.rpc.Push(ctx, pushToProto(request))
	}
	split := func(m *imagesourcev1.PushResponse) (*pluginv1.Progress, *imagesourcev1.PushResult) {
		return m.GetProgress(), m.GetResult()
	}
	r, err := streaming.Await(ctx, open, split, report)
	if err != nil {
		return Pushed{}, err
	}
	check := convert.Answer()
	pushed := pushedFromProto(check, r)
	return pushed, check.Err()
}

// ListTags implements TagLister.
func (c *Client) ListTags(ctx context.Context, repository string, access Access) ([]string, error) {
	if err := c.need("list tags", OperationListTags); err != nil {
		return nil, err
	}
	r, err := c.rpc.ListTags(ctx, &imagesourcev1.ListTagsRequest{Repository: repository, Access: accessToProto(access)})
	return r.GetTags(), err
}

// CheckCredentials implements CredentialChecker.
func (c *Client) CheckCredentials(ctx context.Context, registry string, access Access) error {
	if err := c.need("check credentials", OperationCheckCredentials); err != nil {
		return err
	}
	_, err := c.rpc.CheckCredentials(ctx, &imagesourcev1.CheckCredentialsRequest{Registry: registry, Access: accessToProto(access)})
	return err
}
