package imagesource

import (
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/filltest"
)

func TestConversionsKeepEveryField(t *testing.T) {
	values := filltest.Values{
		reflect.TypeFor[digest.Digest]():    func(n int) any { return digest.FromBytes([]byte{byte(n)}) },
		reflect.TypeFor[ocispec.Platform](): func(int) any { return ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"} },
		reflect.TypeFor[ocispec.Descriptor](): func(n int) any {
			// URLs and inline data do not travel.
			return ocispec.Descriptor{
				MediaType: "application/x", Digest: digest.FromBytes([]byte{byte(n)}), Size: int64(n), Annotations: map[string]string{"a": "b"},
				ArtifactType: "t", Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "v1"},
			}
		},
	}
	filltest.RoundTrip(t, "resolve", values, nil, func(r ResolveRequest) ResolveRequest { return resolveFromProto(resolveToProto(r)) })
	filltest.RoundTrip(t, "resolved", values, nil, func(r Resolved) Resolved { return resolvedFromProto(convert.Answer(), resolvedToProto(r)) })
	filltest.RoundTrip(t, "pull", values, nil, func(r PullRequest) PullRequest { return pullFromProto(pullToProto(r)) })
	filltest.RoundTrip(t, "pulled", values, nil, func(p Pulled) Pulled { return pulledFromProto(convert.Answer(), pulledToProto(p)) })
	filltest.RoundTrip(t, "push", values, nil, func(r PushRequest) PushRequest { return pushFromProto(convert.Request(), pushToProto(r)) })
	filltest.RoundTrip(t, "pushed", values, nil, func(p Pushed) Pushed { return pushedFromProto(convert.Answer(), pushedToProto(p)) })
}
