package images_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/vzctl/vzctl/core/images"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
)

// blobs lists the blobs of a store.
func blobs(t *testing.T, store *images.Store) []string {
	return slices.DeleteFunc(imagetest.Files(t, store.Path()), func(name string) bool { return !strings.HasPrefix(name, "blobs/") })
}

func TestRemoveFreesWhatNothingElseNeeds(t *testing.T) {
	store := open(t)
	kept := imagetest.Single(t, "linux/amd64", []byte("common"), []byte("kept"))
	gone := imagetest.Single(t, "linux/amd64", []byte("common"), []byte("this one is gone"))
	add(t, store, "docker.io/library/kept:latest", kept)
	before := blobs(t, store)
	add(t, store, "docker.io/library/gone:latest", gone)
	freed, err := store.Remove(t.Context(), "gone")
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	for d, raw := range gone.Blobs {
		if _, shared := kept.Blobs[d]; !shared {
			want += int64(len(raw))
		}
	}
	if freed != want {
		t.Errorf("freed %d bytes, want %d", freed, want)
	}
	if got := blobs(t, store); !slices.Equal(got, before) {
		t.Errorf("blobs %v, want %v", got, before)
	}
	if _, err := store.Remove(t.Context(), "gone"); !errors.Is(err, fault.NotFound) {
		t.Errorf("the second time: %v", err)
	}
}

func TestRemoveKeepsAnImageThatHasAnotherName(t *testing.T) {
	store, image := open(t), two(t)
	add(t, store, "docker.io/library/a:1", image)
	add(t, store, "docker.io/library/b:1", image)
	if _, err := store.Remove(t.Context(), image.Root.Digest.Encoded()[:12]); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("removing by digest what has two names: %v", err)
	}
	if freed, err := store.Remove(t.Context(), "a:1"); freed != 0 || err != nil {
		t.Errorf("freed %d, error %v", freed, err)
	}
	if _, err := store.Resolve("b:1", parse(t, "arm64")); err != nil {
		t.Error(err)
	}
	if _, err := store.Remove(t.Context(), image.Root.Digest.Encoded()[:12]); err != nil {
		t.Error(err)
	}
	if got := blobs(t, store); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestNothingIsCollectedWhileAPullHoldsTheStore(t *testing.T) {
	store, image := open(t), two(t)
	add(t, store, "docker.io/library/old:1", imagetest.Single(t, "linux/amd64", []byte("old")))
	release, err := store.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, store, image) // pulled, and not yet added
	if freed, err := store.Remove(t.Context(), "old:1"); freed != 0 || err != nil {
		t.Errorf("freed %d, error %v", freed, err)
	}
	if _, alone, err := store.TryAlone(); alone || err != nil {
		t.Errorf("who wants to collect has the store alone: %t, %v", alone, err)
	}
	if err := store.Add(t.Context(), "docker.io/library/new:1", image.Root, "x"); err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if freed, err := store.Collect(); freed == 0 || err != nil {
		t.Errorf("freed %d, error %v", freed, err)
	}
	got, err := store.Resolve("new:1", parse(t, "amd64"))
	if err == nil {
		err = store.Verify(got)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestCollectTouchesOnlyBlobs(t *testing.T) {
	store := open(t)
	notes := filepath.Join(store.Path(), "blobs", "sha256", "notes.txt")
	if err := os.WriteFile(notes, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(store.Path(), "ingest", "sha256-dead")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Collect(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(notes); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half blob of a dead writer: %v", err)
	}
}

func TestReferences(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	hex := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct{ name, text, canonical, familiar string }{
		{"a short name", "busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"a user's", "me/app:1", "docker.io/me/app:1", "me/app:1"},
		{"with a registry", "localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"},
		{"of tag and digest the digest stays", "app:1@sha256:" + hex, "docker.io/library/app@sha256:" + hex, "app@sha256:" + hex},
		{"an absolute path", "/srv/dir:tag", "/srv/dir:tag", "/srv/dir:tag"},
		{"a path without a tag", "/srv/dir/", "/srv/dir", "/srv/dir"},
		{"a relative path", "./dir:tag", here + "/dir:tag", here + "/dir:tag"},
		{"a path upwards", "../x.tar", filepath.Dir(here) + "/x.tar", filepath.Dir(here) + "/x.tar"},
		{"a path with a digest", "./dir@sha256:" + hex, here + "/dir@sha256:" + hex, here + "/dir@sha256:" + hex},
		{"a path with both", "./dir:1@sha256:" + hex, here + "/dir@sha256:" + hex, here + "/dir@sha256:" + hex},
		{"the directory one is in", ".:tag", here + ":tag", here + ":tag"},
		{"a colon in a directory's name", "/a:b/dir", "/a:b/dir", "/a:b/dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := images.Canonical(c.text)
			if err != nil || got != c.canonical {
				t.Errorf("Canonical(%q) = %q, %v, want %q", c.text, got, err, c.canonical)
			}
			if again, err := images.Canonical(got); err != nil || again != got {
				t.Errorf("the canonical form of %q is %q, %v", got, again, err)
			}
			if got := images.Familiar(got); got != c.familiar {
				t.Errorf("Familiar = %q, want %q", got, c.familiar)
			}
		})
	}
}

// sameAsDocker compares how a reference was read with how Docker's own library reads it.
func sameAsDocker(t *testing.T, text, canonical string, err error) {
	named, dockerErr := reference.ParseDockerRef(text)
	if dockerErr != nil || err != nil {
		if (dockerErr == nil) != (err == nil) {
			t.Errorf("Canonical(%q) = %q, %v; Docker's: %v", text, canonical, err, dockerErr)
		}
		return
	}
	if canonical != named.String() {
		t.Errorf("Canonical(%q) = %q, Docker's is %q", text, canonical, named)
	}
	if docker, err := reference.ParseNormalizedNamed(canonical); err != nil || images.Familiar(canonical) != reference.FamiliarString(docker) {
		t.Errorf("Familiar(%q) = %q, Docker's is %q, %v", canonical, images.Familiar(canonical), docker, err)
	}
}

func TestReferencesAreReadAsDockerReadsThem(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for _, text := range []string{"", "busybox", "busybox:1.36", "me/app", "Me/app", "me/App", "ME.example/app", "localhost/app", "localhost", "docker.io/app", "index.docker.io/app",
		"index.docker.io/me/app:1", "docker.io/library/a/b", "a.b", "a.b/c", "a_b.c/app", "a__b.c/app", "a___b.c/app", "a-/app", "a-.b/app", "-a.b/app", "a--b.c/app", "a..b/app",
		"[::1]/app", "[::1]:5000/app", "[::1]5000/app", "[::1]:/app", "[]:1/app", "[::g]/app", "[::1/app", "host:5000/app", "host:/app", "host:5a/app", "host:5000:1/app",
		"app:", "app:-1", "app:.1", "app:_1", "app:" + strings.Repeat("t", 128), "app:" + strings.Repeat("t", 129), "app:a:b", "app:a/b", "app@", "app@sha256:00", "app@sha256:" + hex,
		"app:1@sha256:" + hex, "app:@sha256:" + hex, "app@sha256:" + hex + "@x", "app@sha256:" + strings.ToUpper(hex), "app@md5:" + hex, "app@sha512:" + hex + hex, "sha256:" + hex, hex, hex + "/a",
		strings.ToUpper(hex), "a/" + hex, "app/", "app//x", "/app", "a b", "a\x00b", "\xff", "\u212a/app", "app:\u212a", "app\n", "app:1\n", strings.Repeat("a", 247), strings.Repeat("a", 248),
		"h.x/" + strings.Repeat("a", 255), "h.x/" + strings.Repeat("a", 256), "a_b.c/" + strings.Repeat("a", 250), "a.-b", "a-._b", "app-", "a_-b", "a-----b"} {
		if strings.HasPrefix(text, "/") {
			continue // a path
		}
		canonical, err := images.Canonical(text)
		sameAsDocker(t, text, canonical, err)
	}
}

func FuzzReferences(f *testing.F) {
	for _, seed := range []string{"busybox", "./dir:tag", "/a@sha256:00", "..", "/a:b/.@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "x:5000/y@", "sha256:abcd"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		canonical, err := images.Canonical(text)
		if text != "" && !strings.ContainsRune("./", rune(text[0])) { // no path
			sameAsDocker(t, text, canonical, err)
		}
		if err != nil {
			return
		}
		if again, err := images.Canonical(canonical); err != nil || again != canonical {
			t.Errorf("Canonical(%q) = %q, of which it makes %q, %v", text, canonical, again, err)
		}
		_ = images.Familiar(canonical)
	})
}
