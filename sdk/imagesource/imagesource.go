// Package imagesource is the contract of the image source kind. The comments in sdk/proto/vzctl/imagesource/v1/imagesource.proto are part of it.
package imagesource

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/progress"
)

// Source is implemented by a plugin and by its client.
type Source interface {
	Resolve(ctx context.Context, request ResolveRequest) (Resolved, error)
	Pull(ctx context.Context, request PullRequest, report progress.Func) (Pulled, error)
}

// Pusher is implemented by sources that offer OperationPush.
type Pusher interface {
	Push(ctx context.Context, request PushRequest, report progress.Func) (Pushed, error)
}

// TagLister is implemented by sources that offer OperationListTags.
type TagLister interface {
	ListTags(ctx context.Context, repository string, access Access) ([]string, error)
}

// CredentialChecker is implemented by sources that offer OperationCheckCredentials.
type CredentialChecker interface {
	CheckCredentials(ctx context.Context, registry string, access Access) error
}

// Keys and values of Info.Capabilities of this kind.
const (
	CapabilityOperation = "operation"

	OperationPush             = "push"
	OperationListTags         = "list-tags"
	OperationCheckCredentials = "check-credentials"
)

// Access is how to reach a source. Its text shows no secret.
type Access struct {
	Username           string
	Password           string
	IdentityToken      string
	PlainHTTP          bool
	InsecureSkipVerify bool
	CAPath             string
}

// String hides the secrets from logs.
func (a Access) String() string {
	if a.Username == "" && a.IdentityToken == "" {
		return "anonymous"
	}
	return "credentials of " + a.Username
}

// GoString hides the secrets from logs.
func (a Access) GoString() string { return a.String() }

// ResolveRequest names an image; no platforms means all.
type ResolveRequest struct {
	Reference string
	Platforms []ocispec.Platform
	Access    Access
}

// Resolved is what a reference names. Root is an index or a manifest.
type Resolved struct {
	CanonicalReference string
	Root               ocispec.Descriptor
	Manifests          []ocispec.Descriptor
}

// PullRequest asks for an image in a layout.
type PullRequest struct {
	RequestID     string
	Reference     string
	Platforms     []ocispec.Platform
	LayoutPath    string
	Access        Access
	MaxConcurrent uint32
}

// Pulled is what came.
type Pulled struct {
	Resolved
	TransferredBytes int64
}

// PushRequest sends an image of a layout.
type PushRequest struct {
	RequestID     string
	Reference     string
	Root          ocispec.Descriptor
	Platforms     []ocispec.Platform
	LayoutPath    string
	Access        Access
	MaxConcurrent uint32
}

// Pushed is what the source has now.
type Pushed struct {
	Root             ocispec.Descriptor
	TransferredBytes int64
}
