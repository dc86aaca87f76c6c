package registry_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/plugins/oci-registry/registry"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
	"github.com/vzctl/vzctl/sdk/platform"
	"github.com/vzctl/vzctl/sdk/progress"
)

var (
	amd64 = []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}
	arm64 = []ocispec.Platform{{OS: "linux", Architecture: "arm64", Variant: "v8"}}
)

// two is an index whose images share a layer.
func two(t testing.TB) imagetest.Image {
	common := random(300<<10, 7)
	return imagetest.Index(t, imagetest.Single(t, "linux/amd64", common, random(5<<20, 8)), imagetest.Single(t, "linux/arm64", common, random(1<<20, 9)))
}

// expected is the files of a layout after a pull of one of the index's images.
func expected(image imagetest.Image, manifest int, layers ...int) []string {
	want := []ocispec.Descriptor{image.Root, image.Manifests[manifest]}
	for _, l := range layers {
		want = append(want, image.Layers[l])
	}
	return imagetest.BlobNames(want...)
}

// difference of two lists of names.
func difference(got, want []string) (extra []string, missing []string) {
	for _, name := range got {
		if !slices.Contains(want, name) {
			extra = append(extra, name)
		}
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			missing = append(missing, name)
		}
	}
	return extra, missing
}

func TestRegistryPullsOneOfSeveralPlatforms(t *testing.T) {
	image := two(t)
	for name, host := range map[string]string{"from a fake": imagetest.Serve(t, image).Host, "from docker-registry": ""} {
		t.Run(name, func(t *testing.T) {
			if host == "" {
				host = dockerRegistry(t)
				push(t, host, "some/image", "latest", image)
			}
			for _, reference := range []string{host + "/some/image", host + "/some/image:latest", host + "/some/image@" + image.Root.Digest.String()} {
				dir := t.TempDir()
				got, err := registry.Source{}.Pull(t.Context(), imagesource.PullRequest{Reference: reference, Platforms: arm64, LayoutPath: dir}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got.Root.Digest != image.Root.Digest || got.Root.MediaType != ocispec.MediaTypeImageIndex || len(got.Manifests) != 1 ||
					got.Manifests[0].Digest != image.Manifests[1].Digest || platform.Format(*got.Manifests[0].Platform) != "linux/arm64" {
					t.Errorf("got %+v", got)
				}
				extra, missing := difference(imagetest.Files(t, dir), expected(image, 1, 2, 3))
				if len(extra) != 1 || len(missing) != 0 { // the one more is the configuration
					t.Errorf("also %v, missing %v", extra, missing)
				}
			}
		})
	}
}

func TestRegistryNamesReferencesInFull(t *testing.T) {
	image := imagetest.Single(t, "linux/amd64", []byte("layer"))
	host := imagetest.Serve(t, image).Host
	at := "@" + image.Root.Digest.String()
	for reference, want := range map[string]string{
		host + "/a/b":               host + "/a/b:latest",
		host + "/a/b" + at:          host + "/a/b" + at,
		host + "/a/b:wrongtag" + at: host + "/a/b" + at, // the digest wins
	} {
		got, err := registry.Source{}.Resolve(t.Context(), imagesource.ResolveRequest{Reference: reference})
		if err != nil || got.CanonicalReference != want || got.Root.Digest != image.Root.Digest || platform.Format(*got.Manifests[0].Platform) != "linux/amd64" {
			t.Errorf("%q: %+v, %v", reference, got, err)
		}
	}
}

func TestRegistryTransfersNothingTwice(t *testing.T) {
	image, dir := two(t), t.TempDir()
	server := imagetest.Serve(t, image)
	request := imagesource.PullRequest{Reference: server.Host + "/x", Platforms: amd64, LayoutPath: dir}
	index := filepath.Join(dir, ocispec.ImageIndexFile)
	if err := os.WriteFile(index, []byte("the host's own"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := registry.Source{}.Pull(t.Context(), request, nil)
	if err != nil || first.TransferredBytes < image.Layers[0].Size+image.Layers[1].Size {
		t.Fatalf("transferred %d bytes, error %v", first.TransferredBytes, err)
	}
	second, err := registry.Source{}.Pull(t.Context(), request, nil)
	if err != nil || second.TransferredBytes != 0 {
		t.Errorf("the second time %d bytes were transferred, error %v", second.TransferredBytes, err)
	}
	for _, layer := range image.Layers[:2] {
		if n := server.Requests(layer.Digest.String()); n != 1 {
			t.Errorf("layer %s was asked for %d times", layer.Digest, n)
		}
	}
	request.Platforms = arm64
	third, err := registry.Source{}.Pull(t.Context(), request, nil)
	if err != nil || third.TransferredBytes < image.Layers[3].Size || third.TransferredBytes > image.Layers[3].Size+10000 {
		t.Errorf("another platform took %d bytes, of which only %d are new; error %v", third.TransferredBytes, image.Layers[3].Size, err)
	}
	if raw, err := os.ReadFile(index); err != nil || string(raw) != "the host's own" {
		t.Errorf("index.json is %q, %v", raw, err)
	}
}

func TestRegistryPullsAllPlatformsWithoutAttestations(t *testing.T) {
	image := two(t)
	attestation := imagetest.Single(t, "linux/amd64", []byte("{}"))
	attestation.Manifests[0].Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	listed := imagetest.Index(t, image, attestation)
	dir := t.TempDir()
	got, err := registry.Source{}.Pull(t.Context(), imagesource.PullRequest{Reference: imagetest.Serve(t, listed).Host + "/x", LayoutPath: dir}, nil)
	if err != nil || len(got.Manifests) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if slices.Contains(imagetest.Files(t, dir), imagetest.BlobNames(attestation.Root)[0]) {
		t.Error("the attestation was pulled")
	}
}

func TestRegistryTellsProgressOfEveryBlob(t *testing.T) {
	image := two(t)
	last := map[string]progress.Update{}
	report := func(u progress.Update) {
		if u.Done < last[u.Item].Done {
			t.Errorf("%s goes back from %d to %d", u.Item, last[u.Item].Done, u.Done)
		}
		last[u.Item] = u
	}
	_, err := registry.Source{}.Pull(t.Context(), imagesource.PullRequest{
		Reference: imagetest.Serve(t, image).Host + "/x", Platforms: amd64, LayoutPath: t.TempDir(), MaxConcurrent: 8}, report)
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range image.Layers[:2] {
		u := last[layer.Digest.Encoded()[:12]]
		if u.Done != layer.Size || u.Total != layer.Size || u.Unit != progress.Bytes {
			t.Errorf("last update of %s is %+v", layer.Digest, u)
		}
	}
	if len(last) != 2 {
		t.Errorf("updates of %d blobs", len(last))
	}
}

func TestRegistryBringsAsManyBlobsAtOnceAsAsked(t *testing.T) {
	var layers [][]byte
	for i := range 9 {
		layers = append(layers, random(1<<20, uint64(i)))
	}
	image := imagetest.Single(t, "linux/amd64", layers...)
	server := imagetest.Serve(t, image)
	var mu sync.Mutex
	now, most := 0, 0
	server.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		server.Plain(w, r)
		mu.Lock()
		now--
		mu.Unlock()
		return true
	}
	for _, asked := range []uint32{1, 2} {
		most = 0
		_, err := registry.Source{}.Pull(t.Context(), imagesource.PullRequest{Reference: server.Host + "/x", LayoutPath: t.TempDir(), MaxConcurrent: asked}, nil)
		if err != nil || most > int(asked) {
			t.Errorf("%d at once, asked for %d; error %v", most, asked, err)
		}
	}
}

func TestRegistryPullCanBeCancelled(t *testing.T) {
	image, dir := two(t), t.TempDir()
	server := imagetest.Serve(t, image)
	ctx, cancel := context.WithCancel(t.Context())
	server.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		raw := image.Blobs[image.Layers[1].Digest]
		if !strings.HasSuffix(r.URL.Path, image.Layers[1].Digest.String()) {
			return false
		}
		w.Header().Set("Content-Length", "5242880")
		_, _ = w.Write(raw[:len(raw)/2])
		w.(http.Flusher).Flush()
		cancel() // as Ctrl-C does, in the middle of a blob
		<-r.Context().Done()
		return true
	}
	_, err := registry.Source{}.Pull(ctx, imagesource.PullRequest{Reference: server.Host + "/x", Platforms: amd64, LayoutPath: dir}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for _, name := range imagetest.Files(t, dir) {
		if !strings.HasSuffix(name, image.Layers[0].Digest.Encoded()) {
			t.Errorf("left behind: %s", name)
		}
	}
	server.Honest()
	if _, err := (registry.Source{}).Pull(t.Context(), imagesource.PullRequest{Reference: server.Host + "/x", Platforms: amd64, LayoutPath: dir}, nil); err != nil {
		t.Errorf("the next pull: %v", err)
	}
}
