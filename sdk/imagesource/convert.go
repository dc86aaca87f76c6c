package imagesource

import (
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	imagesourcev1 "github.com/vzctl/vzctl/sdk/proto/vzctl/imagesource/v1"
)

func platformToProto(p ocispec.Platform) *imagesourcev1.Platform {
	return &imagesourcev1.Platform{Os: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

func platformFromProto(p *imagesourcev1.Platform) ocispec.Platform {
	return ocispec.Platform{OS: p.GetOs(), Architecture: p.GetArchitecture(), Variant: p.GetVariant()}
}

func descriptorToProto(d ocispec.Descriptor) *imagesourcev1.Descriptor {
	out := &imagesourcev1.Descriptor{
		MediaType: d.MediaType, Digest: string(d.Digest), Size: d.Size, Annotations: d.Annotations, ArtifactType: d.ArtifactType,
	}
	if d.Platform != nil {
		out.Platform = platformToProto(*d.Platform)
	}
	return out
}

// descriptorFromProto needs a digest that can be checked and a size that can be.
func descriptorFromProto(check *convert.Checks, d *imagesourcev1.Descriptor) ocispec.Descriptor {
	out := ocispec.Descriptor{
		MediaType: d.GetMediaType(), Digest: digest.Digest(d.GetDigest()), Size: d.GetSize(),
		Annotations: d.GetAnnotations(), ArtifactType: d.GetArtifactType(),
	}
	if err := out.Digest.Validate(); err != nil {
		check.Fail("digest", d.GetDigest(), "which is no digest: "+err.Error())
	}
	if out.Size < 0 {
		check.Fail("a size of", d.GetDigest(), "which is negative")
	}
	if d.GetPlatform() != nil {
		p := platformFromProto(d.GetPlatform())
		out.Platform = &p
	}
	return out
}

func accessToProto(a Access) *imagesourcev1.Access {
	return &imagesourcev1.Access{
		Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken,
		PlainHttp: a.PlainHTTP, InsecureSkipVerify: a.InsecureSkipVerify, CaPath: a.CAPath,
	}
}

func accessFromProto(a *imagesourcev1.Access) Access {
	return Access{
		Username: a.GetUsername(), Password: a.GetPassword(), IdentityToken: a.GetIdentityToken(),
		PlainHTTP: a.GetPlainHttp(), InsecureSkipVerify: a.GetInsecureSkipVerify(), CAPath: a.GetCaPath(),
	}
}

func resolveToProto(r ResolveRequest) *imagesourcev1.ResolveRequest {
	return &imagesourcev1.ResolveRequest{Reference: r.Reference, Platforms: convert.Slice(r.Platforms, platformToProto), Access: accessToProto(r.Access)}
}

func resolveFromProto(r *imagesourcev1.ResolveRequest) ResolveRequest {
	return ResolveRequest{Reference: r.GetReference(), Platforms: convert.Slice(r.GetPlatforms(), platformFromProto), Access: accessFromProto(r.GetAccess())}
}

func resolvedToProto(r Resolved) *imagesourcev1.ResolveResponse {
	return &imagesourcev1.ResolveResponse{
		CanonicalReference: r.CanonicalReference, Root: descriptorToProto(r.Root), Manifests: convert.Slice(r.Manifests, descriptorToProto),
	}
}

func resolvedFromProto(check *convert.Checks, r *imagesourcev1.ResolveResponse) Resolved {
	return Resolved{
		CanonicalReference: r.GetCanonicalReference(), Root: descriptorFromProto(check, r.GetRoot()), Manifests: manifestsFromProto(check, r.GetManifests()),
	}
}

func manifestsFromProto(check *convert.Checks, list []*imagesourcev1.Descriptor) []ocispec.Descriptor {
	return convert.Slice(list, func(d *imagesourcev1.Descriptor) ocispec.Descriptor { return descriptorFromProto(check, d) })
}

func pullToProto(r PullRequest) *imagesourcev1.PullRequest {
	return &imagesourcev1.PullRequest{
		RequestId: r.RequestID, Reference: r.Reference, Platforms: convert.Slice(r.Platforms, platformToProto),
		LayoutPath: r.LayoutPath, Access: accessToProto(r.Access), MaxConcurrent: r.MaxConcurrent,
	}
}

func pullFromProto(r *imagesourcev1.PullRequest) PullRequest {
	return PullRequest{
		RequestID: r.GetRequestId(), Reference: r.GetReference(), Platforms: convert.Slice(r.GetPlatforms(), platformFromProto),
		LayoutPath: r.GetLayoutPath(), Access: accessFromProto(r.GetAccess()), MaxConcurrent: r.GetMaxConcurrent(),
	}
}

func pulledToProto(p Pulled) *imagesourcev1.PullResult {
	return &imagesourcev1.PullResult{
		CanonicalReference: p.CanonicalReference, Root: descriptorToProto(p.Root),
		Manifests: convert.Slice(p.Manifests, descriptorToProto), TransferredBytes: p.TransferredBytes,
	}
}

func pulledFromProto(check *convert.Checks, p *imagesourcev1.PullResult) Pulled {
	return Pulled{
		Resolved: Resolved{
			CanonicalReference: p.GetCanonicalReference(), Root: descriptorFromProto(check, p.GetRoot()), Manifests: manifestsFromProto(check, p.GetManifests()),
		},
		TransferredBytes: p.GetTransferredBytes(),
	}
}

func pushToProto(r PushRequest) *imagesourcev1.PushRequest {
	return &imagesourcev1.PushRequest{
		RequestId: r.RequestID, Reference: r.Reference, Root: descriptorToProto(r.Root), Platforms: convert.Slice(r.Platforms, platformToProto),
		LayoutPath: r.LayoutPath, Access: accessToProto(r.Access), MaxConcurrent: r.MaxConcurrent,
	}
}

func pushFromProto(check *convert.Checks, r *imagesourcev1.PushRequest) PushRequest {
	return PushRequest{
		RequestID: r.GetRequestId(), Reference: r.GetReference(), Root: descriptorFromProto(check, r.GetRoot()),
		Platforms:  convert.Slice(r.GetPlatforms(), platformFromProto),
		LayoutPath: r.GetLayoutPath(), Access: accessFromProto(r.GetAccess()), MaxConcurrent: r.GetMaxConcurrent(),
	}
}

func pushedToProto(p Pushed) *imagesourcev1.PushResult {
	return &imagesourcev1.PushResult{Root: descriptorToProto(p.Root), TransferredBytes: p.TransferredBytes}
}

func pushedFromProto(check *convert.Checks, p *imagesourcev1.PushResult) Pushed {
	return Pushed{Root: descriptorFromProto(check, p.GetRoot()), TransferredBytes: p.GetTransferredBytes()}
}
