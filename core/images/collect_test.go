package images_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Collect(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("collecting gives %v", err)
	}
	if err := store.Add(t.Context(), "docker.io/library/new:1", image.Root, "x"); err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if freed, err := store.Collect(t.Context()); freed == 0 || err != nil {
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
	if _, err := store.Collect(t.Context()); err != nil {
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

func FuzzReferences(f *testing.F) {
	for _, seed := range []string{"busybox", "./dir:tag", "/a@sha256:00", "..", "/a:b/.@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "x:5000/y@", "sha256:abcd"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		canonical, err := images.Canonical(text)
		if err != nil {
			return
		}
		if again, err := images.Canonical(canonical); err != nil || again != canonical {
			t.Errorf("Canonical(%q) = %q, of which it makes %q, %v", text, canonical, again, err)
		}
		_ = images.Familiar(canonical)
	})
}
