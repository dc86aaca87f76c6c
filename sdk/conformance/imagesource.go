package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/progress"
)

// ImageSourceFixture is an image the source has.
type ImageSourceFixture struct {
	Reference string
	Platform  ocispec.Platform
	// Root and Manifest are what the reference names and the manifest for the platform; empty: not compared.
	Root, Manifest digest.Digest
	// Missing is a reference of an image that the same source does not have; empty: not tried.
	Missing string
	Access  imagesource.Access
}

func imageSourceCases() []Case {
	return []Case{
		{Name: "a reference that is none is invalid", Run: imageBadReference},
		{Name: "a layout that is no absolute path is invalid", Run: imageBadLayout},
		{Name: "an image that is not there is not found", Run: imageMissing},
		{Name: "resolve gives the digests of root and manifest", Run: imageResolve},
		{Name: "pull brings complete, right blobs and leaves the index alone", Run: imagePull},
		{Name: "pull again transfers nothing", Run: imagePullAgain},
		{Name: "pulls of one layout at once agree", Run: imagePullConcurrently},
		{Name: "a platform that is not there is not found", Run: imageNoPlatform},
		{Name: "a cancelled pull leaves no wrong blob", Run: imageCancel},
		{Name: "what is not offered is unsupported", Run: imageOptional},
	}
}

func sources(env *Env) *imagesource.Client {
	return imagesource.NewClient(env.Process.Conn(), env.Process.Info())
}

func (e *Env) image() (*ImageSourceFixture, error) {
	if e.Fixture.ImageSource == nil {
		return nil, NotRun{Reason: "no reference of an image was given"}
	}
	return e.Fixture.ImageSource, nil
}

// index is what must not change.
const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

func (e *Env) emptyLayout(name string) (string, error) {
	dir, err := e.subdir(name)
	if err != nil {
		return "", err
	}
	return dir, errors.Join(
		os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600),
		os.WriteFile(filepath.Join(dir, "index.json"), []byte(index), 0o600),
	)
}

func (e *Env) pull(ctx context.Context, layout string, report progress.Func) (imagesource.Pulled, error) {
	f, err := e.image()
	if err != nil {
		return imagesource.Pulled{}, err
	}
	return sources(e).Pull(ctx, imagesource.PullRequest{
		RequestID: "pull", Reference: f.Reference, Platforms: []ocispec.Platform{f.Platform}, LayoutPath: layout, Access: f.Access,
	}, report)
}

// checkBlobs hashes every blob of a layout and returns their digests.
func checkBlobs(layout string) (map[digest.Digest]int64, error) {
	blobs := map[digest.Digest]int64{}
	dir := filepath.Join(layout, "blobs", "sha256")
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range list {
		d := digest.NewDigestFromEncoded(digest.SHA256, entry.Name())
		if d.Validate() != nil {
			continue // unfinished, under a name that is no digest
		}
		f, err := os.Open(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		got, err := digest.SHA256.FromReader(f)
		info, statErr := f.Stat()
		f.Close()
		if err := errors.Join(err, statErr); err != nil {
			return nil, err
		}
		if got != d {
			return nil, fmt.Errorf("blob %s has the content of %s", d, got)
		}
		blobs[d] = info.Size()
	}
	return blobs, nil
}

func imageBadReference(ctx context.Context, env *Env) error {
	var err error
	for _, reference := range []string{"", " ", "a b", "\x00"} {
		_, got := sources(env).Resolve(ctx, imagesource.ResolveRequest{Reference: reference})
		err = errors.Join(err, wantReason(fmt.Sprintf("resolve of %q", reference), got, fault.Invalid, fault.NotFound))
	}
	return err
}

func imageBadLayout(ctx context.Context, env *Env) error {
	f, err := env.image()
	if err != nil {
		return err
	}
	for _, path := range []string{"", "layout"} {
		_, got := sources(env).Pull(ctx, imagesource.PullRequest{RequestID: "r", Reference: f.Reference, Platforms: []ocispec.Platform{f.Platform}, LayoutPath: path, Access: f.Access}, nil)
		err = errors.Join(err, wantReason(fmt.Sprintf("pull into %q", path), got, fault.Invalid))
	}
	return err
}

func imageMissing(ctx context.Context, env *Env) error {
	f, err := env.image()
	if err != nil {
		return err
	}
	if f.Missing == "" {
		return NotRun{Reason: "no reference of a missing image was given"}
	}
	_, got := sources(env).Resolve(ctx, imagesource.ResolveRequest{Reference: f.Missing, Access: f.Access})
	return wantReason("resolve", got, fault.NotFound)
}

func checkResolved(f *ImageSourceFixture, r imagesource.Resolved) error {
	switch {
	case r.CanonicalReference == "":
		return errors.New("there is no canonical reference")
	case f.Root != "" && r.Root.Digest != f.Root:
		return fmt.Errorf("root is %s, not %s", r.Root.Digest, f.Root)
	case len(r.Manifests) != 1:
		return fmt.Errorf("one platform gave %d manifests", len(r.Manifests))
	case f.Manifest != "" && r.Manifests[0].Digest != f.Manifest:
		return fmt.Errorf("manifest is %s, not %s", r.Manifests[0].Digest, f.Manifest)
	}
	if p := r.Manifests[0].Platform; p == nil || p.OS != f.Platform.OS || p.Architecture != f.Platform.Architecture {
		return fmt.Errorf("the manifest's platform is %+v", p)
	}
	return nil
}

func imageResolve(ctx context.Context, env *Env) error {
	f, err := env.image()
	if err != nil {
		return err
	}
	r, err := sources(env).Resolve(ctx, imagesource.ResolveRequest{Reference: f.Reference, Platforms: []ocispec.Platform{f.Platform}, Access: f.Access})
	if err != nil {
		return err
	}
	return checkResolved(f, r)
}

func imagePull(ctx context.Context, env *Env) error {
	layout, err := env.emptyLayout("layout")
	if err != nil {
		return err
	}
	updates := 0
	pulled, err := env.pull(ctx, layout, func(progress.Update) { updates++ })
	if err != nil {
		return err
	}
	if err := checkResolved(env.Fixture.ImageSource, pulled.Resolved); err != nil {
		return err
	}
	if updates == 0 {
		return errors.New("it told of no progress")
	}
	return checkLayout(layout, pulled)
}

func checkLayout(layout string, pulled imagesource.Pulled) error {
	blobs, err := checkBlobs(layout)
	if err != nil {
		return err
	}
	for _, d := range append(slices.Clone(pulled.Manifests), pulled.Root) {
		if size, ok := blobs[d.Digest]; !ok || size != d.Size {
			return fmt.Errorf("%s of %d bytes is not in the layout (%d)", d.Digest, d.Size, size)
		}
	}
	if len(blobs) < 2 {
		return fmt.Errorf("the layout has %d blobs", len(blobs))
	}
	if text, err := os.ReadFile(filepath.Join(layout, "index.json")); err != nil || string(text) != index {
		return wrong(err, "index.json is now %q", text)
	}
	return filepath.WalkDir(layout, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Dir(path) == filepath.Join(layout, "blobs", "sha256") && len(d.Name()) != 64 {
			return fmt.Errorf("it left %q", path)
		}
		return err
	})
}

func imagePullAgain(ctx context.Context, env *Env) error {
	layout, err := env.emptyLayout("layout")
	if err != nil {
		return err
	}
	if _, err := env.pull(ctx, layout, nil); err != nil {
		return err
	}
	before, err := checkBlobs(layout)
	if err != nil {
		return err
	}
	again, err := env.pull(ctx, layout, nil)
	if err != nil {
		return err
	}
	manifests := int64(0) // a source may read these again to learn whether the tag has moved
	for _, d := range append(slices.Clone(again.Manifests), again.Root) {
		manifests += d.Size
	}
	if again.TransferredBytes > manifests {
		return fmt.Errorf("it transferred %d bytes again", again.TransferredBytes)
	}
	after, err := checkBlobs(layout)
	if err == nil && len(after) != len(before) {
		err = fmt.Errorf("there were %d blobs and are %d", len(before), len(after))
	}
	return err
}

func imagePullConcurrently(ctx context.Context, env *Env) error {
	layout, err := env.emptyLayout("layout")
	if err != nil {
		return err
	}
	group, pulling := errgroup.WithContext(ctx)
	for range 4 {
		group.Go(func() error {
			pulled, err := env.pull(pulling, layout, nil)
			if err != nil {
				return err
			}
			return checkResolved(env.Fixture.ImageSource, pulled.Resolved)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err = checkBlobs(layout)
	return err
}

func imageNoPlatform(ctx context.Context, env *Env) error {
	f, err := env.image()
	if err != nil {
		return err
	}
	layout, err := env.emptyLayout("layout")
	if err != nil {
		return err
	}
	_, got := sources(env).Pull(ctx, imagesource.PullRequest{
		RequestID: "r", Reference: f.Reference, Platforms: []ocispec.Platform{{OS: "plan9", Architecture: "vax"}}, LayoutPath: layout, Access: f.Access,
	}, nil)
	return wantReason("pull", got, fault.NotFound)
}

func imageCancel(ctx context.Context, env *Env) error {
	layout, err := env.emptyLayout("layout")
	if err != nil {
		return err
	}
	if _, err := env.image(); err != nil {
		return err
	}
	pulling, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := env.pull(pulling, layout, func(progress.Update) { cancel() }); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("a cancelled pull ended with %w", err)
	}
	if _, err := checkBlobs(layout); err != nil {
		return err
	}
	pulled, err := env.pull(ctx, layout, nil)
	if err != nil {
		return fmt.Errorf("pull after a cancelled one: %w", err)
	}
	_, err = checkBlobs(layout)
	return errors.Join(err, checkResolved(env.Fixture.ImageSource, pulled.Resolved))
}

func imageOptional(ctx context.Context, env *Env) error {
	info := env.Process.Info()
	c := sources(env)
	_, push := c.Push(ctx, imagesource.PushRequest{RequestID: "r", Root: ocispec.Descriptor{Digest: digest.FromString("x")}, LayoutPath: env.Dir}, nil)
	_, tags := c.ListTags(ctx, "", imagesource.Access{})
	for operation, err := range map[string]error{
		imagesource.OperationPush: push, imagesource.OperationListTags: tags,
		imagesource.OperationCheckCredentials: c.CheckCredentials(ctx, "", imagesource.Access{}),
	} {
		want := fault.Unsupported
		if info.Offers(imagesource.CapabilityOperation, operation) {
			want = fault.Invalid // an empty name can never succeed
		}
		if err := wantReason(operation, err, want); err != nil {
			return err
		}
	}
	return nil
}
