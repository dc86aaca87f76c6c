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

// Plugin makes an implementation ready for sdk.Serve. Optional interfaces ([Pusher], [TagLister], [CredentialChecker]) are served if impl has them.
func Plugin(info sdk.Info, impl Source) sdk.Plugin {
	return sdk.NewPlugin(sdk.ImageSource, info, impl, func(r grpc.ServiceRegistrar) {
		imagesourcev1.RegisterImageSourceServer(r, &server{impl: impl})
	})
}

type server struct {
	imagesourcev1.UnimplementedImageSourceServer
	impl Source
}

// missing is the refusal of an optional call; op says it to people.
func missing(op, operation string) error {
	return convert.Missing(op, CapabilityOperation+" "+operation)
}

func (s *server) Resolve(ctx context.Context, r *imagesourcev1.ResolveRequest) (*imagesourcev1.ResolveResponse, error) {
	resolved, err := s.impl.Resolve(ctx, resolveFromProto(r))
	if err != nil {
		return nil, err
	}
	return resolvedToProto(resolved), nil
}

func (s *server) Pull(r *imagesourcev1.PullRequest, stream grpc.ServerStreamingServer[imagesourcev1.PullResponse]) error {
	wrap := func(p *pluginv1.Progress) *imagesourcev1.PullResponse {
		return &imagesourcev1.PullResponse{Of: &imagesourcev1.PullResponse_Progress{Progress: p}}
	}
	return streaming.Serve(stream, wrap, func(report progress.Func) (*imagesourcev1.PullResponse, error) {
		pulled, err := s.impl.Pull(stream.Context(), pullFromProto(r), report)
		return &imagesourcev1.PullResponse{Of: &imagesourcev1.PullResponse_Result{Result: pulledToProto(pulled)}}, err
	})
}

func (s *server) Push(r *imagesourcev1.PushRequest, stream grpc.ServerStreamingServer[imagesourcev1.PushResponse]) error {
	pusher, ok := s.impl.(Pusher)
	if !ok {
		return missing("push", OperationPush)
	}
	check := convert.Request()
	request := pushFromProto(check, r)
	if err := check.Err(); err != nil {
		return err
	}
	wrap := func(p *pluginv1.Progress) *imagesourcev1.PushResponse {
		return &imagesourcev1.PushResponse{Of: &imagesourcev1.PushResponse_Progress{Progress: p}}
	}
	return streaming.Serve(stream, wrap, func(report progress.Func) (*imagesourcev1.PushResponse, error) {
		pushed, err := pusher.Push(stream.Context(), request, report)
		return &imagesourcev1.PushResponse{Of: &imagesourcev1.PushResponse_Result{Result: pushedToProto(pushed)}}, err
	})
}

func (s *server) ListTags(ctx context.Context, r *imagesourcev1.ListTagsRequest) (*imagesourcev1.ListTagsResponse, error) {
	lister, ok := s.impl.(TagLister)
	if !ok {
		return nil, missing("list tags", OperationListTags)
	}
	tags, err := lister.ListTags(ctx, r.GetRepository(), accessFromProto(r.GetAccess()))
	if err != nil {
		return nil, err
	}
	return &imagesourcev1.ListTagsResponse{Tags: tags}, nil
}

func (s *server) CheckCredentials(ctx context.Context, r *imagesourcev1.CheckCredentialsRequest) (*imagesourcev1.CheckCredentialsResponse, error) {
	checker, ok := s.impl.(CredentialChecker)
	if !ok {
		return nil, missing("check credentials", OperationCheckCredentials)
	}
	if err := checker.CheckCredentials(ctx, r.GetRegistry(), accessFromProto(r.GetAccess())); err != nil {
		return nil, err
	}
	return &imagesourcev1.CheckCredentialsResponse{}, nil
}
