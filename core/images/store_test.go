package images_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/core/images"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
	"github.com/vzctl/vzctl/sdk/layout"
)

func open(t *testing.T) *images.Store {
	t.Helper()
	store, err := images.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// fill brings blobs as an image source does, all but those that are left out.
func fill(t *testing.T, store *images.Store, image imagetest.Image, without ...digest.Digest) {
	t.Helper()
	for d, raw := range image.Blobs {
		if slices.Contains(without, d) {
			continue
		}
		if err := (layout.Dir{Path: store.Path()}).WriteDocument(t.Context(), ocispec.Descriptor{Digest: d, Size: int64(len(raw))}, raw); err != nil {
			t.Fatal(err)
		}
	}
}

func add(t *testing.T, store *images.Store, reference string, image imagetest.Image) {
	t.Helper()
	fill(t, store, image)
	if err := store.Add(t.Context(), reference, image.Root, "oci-registry"); err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, text string) ocispec.Platform {
	t.Helper()
	p, err := images.ParsePlatform(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func two(t *testing.T) imagetest.Image {
	return imagetest.Index(t, imagetest.Single(t, "linux/amd64", []byte("common"), []byte("for amd64")), imagetest.Single(t, "linux/arm64", []byte("common"), []byte("for arm64")))
}

func TestResolveFindsAnImage(t *testing.T) {
	store, image := open(t), two(t)
	add(t, store, "docker.io/library/busybox:latest", image)
	add(t, store, "localhost:5000/other:1", imagetest.Single(t, "linux/amd64", []byte("other")))
	arm, err := store.Resolve("busybox", parse(t, "arm64"))
	if err != nil {
		t.Fatal(err)
	}
	for name, reference := range map[string]string{
		"by its short name":               "busybox",
		"by name and tag":                 "busybox:latest",
		"by its full name":                "docker.io/library/busybox:latest",
		"by the digest of the index":      image.Root.Digest.String(),
		"by the beginning of that":        image.Root.Digest.Encoded()[:12],
		"by the digest of the manifest":   arm.Manifest.Digest.String(),
		"by its id":                       arm.ID.String(),
		"by the bare digits of its id":    arm.ID.Encoded(),
		"by the unique beginning of them": arm.ID.Encoded()[:8],
	} {
		t.Run(name, func(t *testing.T) {
			got, err := store.Resolve(reference, parse(t, "linux/arm64/v8"))
			if err != nil {
				t.Fatal(err)
			}
			if got.Name != "busybox:latest" || got.Reference != "docker.io/library/busybox:latest" || got.Source != "oci-registry" ||
				got.Root.Digest != image.Root.Digest || got.Manifest.Digest != image.Manifests[1].Digest || got.Manifest.Platform.Architecture != "arm64" ||
				got.Config.Architecture != "arm64" || len(got.Layers) != 2 || got.Size != int64(len("common")+len("for arm64")) {
				t.Errorf("got %+v", got)
			}
			if err := store.Verify(got); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	store, image := open(t), two(t)
	fill(t, store, image, image.Manifests[1].Digest) // as after a pull for amd64 alone
	if err := store.Add(t.Context(), "docker.io/library/busybox:latest", image.Root, "oci-registry"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, reference, platform, says string
		want                            fault.Reason
	}{
		{"an unknown name", "alpine", "amd64", "pull it first", fault.NotFound},
		{"an unknown tag", "busybox:1", "amd64", "pull it first", fault.NotFound},
		{"an unknown digest", digest.FromString("x").String(), "amd64", "pull it first", fault.NotFound},
		{"an unknown digest without its algorithm", digest.FromString("x").Encoded(), "amd64", "pull it first", fault.NotFound},
		{"a platform that was not pulled", "busybox", "arm64", "was not pulled for linux/arm64", fault.NotFound},
		{"a platform there is not", "busybox", "riscv64", "only for linux/amd64, linux/arm64", fault.NotFound},
		{"what is no reference", "Busy Box", "amd64", "reference", fault.Invalid},
		{"nothing", "", "amd64", "reference", fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := store.Resolve(c.reference, parse(t, c.platform))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %+v, error %v", got, err)
			}
		})
	}
}

func TestResolveRefusesAnAmbiguousBeginning(t *testing.T) {
	store := open(t)
	seen := map[string]imagetest.Image{}
	for i := range 5000 {
		second := imagetest.Single(t, "linux/amd64", []byte{byte(i), byte(i >> 8)})
		begin := second.Root.Digest.Encoded()[:4]
		first, ok := seen[begin]
		if seen[begin] = second; !ok {
			continue
		}
		add(t, store, "docker.io/library/first:1", first)
		add(t, store, "docker.io/library/second:1", second)
		if _, err := store.Resolve(begin, parse(t, "amd64")); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "more digits") {
			t.Errorf("error %v", err)
		}
		return
	}
	t.Fatal("no two digests begin alike")
}

func TestDamagedDocumentsAreNotBelieved(t *testing.T) {
	image := imagetest.Single(t, "linux/amd64", []byte("layer"))
	var config digest.Digest
	for d := range image.Blobs {
		if d != image.Root.Digest && d != image.Layers[0].Digest {
			config = d
		}
	}
	for name, d := range map[string]digest.Digest{"the manifest": image.Root.Digest, "the configuration": config} {
		t.Run(name, func(t *testing.T) {
			store := open(t)
			add(t, store, "docker.io/library/busybox:latest", image)
			path, err := (layout.Dir{Path: store.Path()}).Blob(d)
			if err != nil {
				t.Fatal(err)
			}
			raw := []byte(strings.Replace(string(image.Blobs[d]), "sha256", "sha255", 1))
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Resolve("busybox", parse(t, "amd64")); err == nil || !strings.Contains(err.Error(), "pull it again") && !strings.Contains(err.Error(), "not pulled") {
				t.Errorf("error %v", err)
			}
			list, err := store.List()
			if err != nil || len(list) != 1 || list[0].Problem == nil || list[0].Name != "busybox:latest" {
				t.Errorf("list %+v, error %v", list, err)
			}
			if _, err := store.Remove(t.Context(), "busybox"); err != nil {
				t.Errorf("it cannot be removed: %v", err)
			}
		})
	}
}

func TestVerifyNamesMissingLayers(t *testing.T) {
	store, image := open(t), two(t)
	fill(t, store, image, image.Layers[1].Digest)
	if err := store.Add(t.Context(), "docker.io/library/busybox:latest", image.Root, "x"); err != nil {
		t.Fatal(err)
	}
	got, err := store.Resolve("busybox", parse(t, "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Verify(got); !errors.Is(err, fault.NotFound) || !strings.Contains(err.Error(), image.Layers[1].Digest.String()) {
		t.Errorf("error %v", err)
	}
}

func TestAddRefusesARootThatIsNotThere(t *testing.T) {
	store, image := open(t), two(t)
	if err := store.Add(t.Context(), "docker.io/library/busybox:latest", image.Root, "x"); !errors.Is(err, fault.NotFound) {
		t.Errorf("error %v", err)
	}
	if list, err := store.List(); err != nil || len(list) != 0 {
		t.Errorf("list %v, error %v", list, err)
	}
}

func TestListIsSortedAndShowsEveryPlatform(t *testing.T) {
	store, image := open(t), two(t)
	add(t, store, "docker.io/library/z:1", imagetest.Single(t, "linux/amd64", []byte("z")))
	add(t, store, "docker.io/library/busybox:latest", image)
	add(t, store, "/srv/images/dir:tag", imagetest.Single(t, "linux/amd64", []byte("path")))
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range list {
		got = append(got, i.Name+" "+images.FormatPlatform(i.Platform))
	}
	if want := []string{"/srv/images/dir:tag linux/amd64", "busybox:latest linux/amd64", "busybox:latest linux/arm64", "z:1 linux/amd64"}; !slices.Equal(got, want) {
		t.Errorf("list %v, want %v", got, want)
	}
}

func TestManyAddAtOnce(t *testing.T) {
	store := open(t)
	var adding sync.WaitGroup
	for i := range 16 {
		single := imagetest.Single(t, "linux/amd64", []byte{byte(i)})
		fill(t, store, single)
		adding.Go(func() {
			other, err := images.Open(store.Path()) // as another process would
			if err == nil {
				err = other.Add(t.Context(), "docker.io/library/i:"+string(rune('a'+i)), single.Root, "x")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	if list, err := store.List(); err != nil || len(list) != 16 {
		t.Errorf("%d images, error %v", len(list), err)
	}
}
