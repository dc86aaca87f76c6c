package imagesource_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/plugintest"
	"github.com/vzctl/vzctl/sdk/progress"
)

func dial(t *testing.T, impl imagesource.Source, operations ...string) *imagesource.Client {
	info := sdk.Info{Name: "fake", Capabilities: map[string][]string{imagesource.CapabilityOperation: operations}}
	return imagesource.NewClient(plugintest.Dial(t, imagesource.Plugin(info, impl)), info)
}

func TestPullReportsProgressAndThenTheResult(t *testing.T) {
	root := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 1}
	c := dial(t, &imagesource.Fake{PullFunc: func(_ context.Context, r imagesource.PullRequest, report progress.Func) (imagesource.Pulled, error) {
		if r.Access.Password != "hunter2" {
			t.Errorf("access is %q", r.Access.Password)
		}
		report(progress.Update{Item: "layer", Done: 1, Total: 1})
		return imagesource.Pulled{Resolved: imagesource.Resolved{CanonicalReference: "r", Root: root}, TransferredBytes: 1}, nil
	}})
	updates := 0
	pulled, err := c.Pull(t.Context(), imagesource.PullRequest{Access: imagesource.Access{Password: "hunter2"}}, func(progress.Update) { updates++ })
	if err != nil || updates != 1 || pulled.Root.Digest != root.Digest || pulled.TransferredBytes != 1 {
		t.Errorf("pull gave %+v, %d updates, %v", pulled, updates, err)
	}
}

func TestAFailedPullGivesItsReasonAfterProgress(t *testing.T) {
	c := dial(t, &imagesource.Fake{PullFunc: func(_ context.Context, _ imagesource.PullRequest, report progress.Func) (imagesource.Pulled, error) {
		report(progress.Update{Item: "layer", Done: 1, Total: 2})
		return imagesource.Pulled{}, &fault.Error{Reason: fault.DigestMismatch, Op: "pull", Subject: "layer"}
	}})
	if _, err := c.Pull(t.Context(), imagesource.PullRequest{}, nil); !errors.Is(err, fault.DigestMismatch) {
		t.Error(err)
	}
}

func TestOptionalCallsNeedTheCapabilityAndTheImplementation(t *testing.T) {
	for _, operations := range [][]string{nil, {imagesource.OperationPush, imagesource.OperationListTags, imagesource.OperationCheckCredentials}} {
		c := dial(t, &imagesource.Fake{}, operations...)
		_, push := c.Push(t.Context(), imagesource.PushRequest{Root: ocispec.Descriptor{Digest: digest.FromString("x")}}, nil)
		_, tags := c.ListTags(t.Context(), "r", imagesource.Access{})
		for operation, err := range map[string]error{"push": push, "list-tags": tags, "check-credentials": c.CheckCredentials(t.Context(), "r", imagesource.Access{})} {
			if !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "operation "+operation) {
				t.Errorf("%s gave %v", operation, err)
			}
		}
	}
}

func TestAnswersAreNotTrusted(t *testing.T) {
	for name, root := range map[string]ocispec.Descriptor{
		"no digest":          {},
		"a digest of a path": {Digest: "sha256:../../etc/passwd"},
		"a negative size":    {Digest: digest.FromString("x"), Size: -1},
	} {
		c := dial(t, &imagesource.Fake{ResolveFunc: func(context.Context, imagesource.ResolveRequest) (imagesource.Resolved, error) {
			return imagesource.Resolved{Root: root}, nil
		}})
		if _, err := c.Resolve(t.Context(), imagesource.ResolveRequest{}); !errors.Is(err, fault.Internal) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	r := imagesource.PullRequest{Access: imagesource.Access{Username: "me", Password: "hunter2", IdentityToken: "hunter3"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, r); strings.Contains(text, "hunter") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}
