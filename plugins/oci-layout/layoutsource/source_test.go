package layoutsource_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/oci-layout/layoutsource"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
	"github.com/vzctl/vzctl/sdk/platform"
)

var arm64 = []ocispec.Platform{{OS: "linux", Architecture: "arm64"}}

func two(t testing.TB) imagetest.Image {
	common := bytes.Repeat([]byte("common"), 1000)
	return imagetest.Index(t, imagetest.Single(t, "linux/amd64", common, []byte("for amd64")), imagetest.Single(t, "linux/arm64", common, []byte("for arm64")))
}

func pull(t *testing.T, reference string, platforms []ocispec.Platform) (imagesource.Pulled, []string, error) {
	t.Helper()
	dir := t.TempDir()
	pulled, err := layoutsource.Source{}.Pull(t.Context(), imagesource.PullRequest{Reference: reference, Platforms: platforms, LayoutPath: dir}, nil)
	return pulled, imagetest.Files(t, dir), err
}

func TestPullsOneOfSeveralPlatforms(t *testing.T) {
	image, dir := two(t), t.TempDir()
	image.WriteLayout(t, filepath.Join(dir, "layout"), imagetest.Tagged("v1"))
	image.WriteTar(t, filepath.Join(dir, "layout.tar"), imagetest.Tagged("v1"))
	if err := os.Symlink("layout", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, reference := range map[string]string{
		"a directory":                    "/layout:v1",
		"a directory behind a link":      "/link:v1",
		"a directory, the only image":    "/layout",
		"a directory, by digest":         "/layout@" + image.Root.Digest.String(),
		"a tar":                          "/layout.tar:v1",
		"a tar, the only image":          "/layout.tar",
		"a tar, by digest and wrong tag": "/layout.tar:wrong@" + image.Root.Digest.String(),
	} {
		t.Run(name, func(t *testing.T) {
			got, files, err := pull(t, dir+reference, arm64)
			if err != nil {
				t.Fatal(err)
			}
			if want := dir + strings.Replace(reference, ":wrong", "", 1); got.CanonicalReference != want {
				t.Errorf("canonical reference %q, want %q", got.CanonicalReference, want)
			}
			if got.Root.Digest != image.Root.Digest || len(got.Manifests) != 1 || platform.Format(*got.Manifests[0].Platform) != "linux/arm64" {
				t.Errorf("got %+v", got)
			}
			want := imagetest.BlobNames(image.Root, image.Manifests[1], image.Layers[2], image.Layers[3])
			if len(files) != len(want)+1 { // and the configuration
				t.Errorf("files %v, want %v and one more", files, want)
			}
			for _, name := range want {
				if !slices.Contains(files, name) {
					t.Errorf("%s is missing", name)
				}
			}
		})
	}
}

func TestFindsTheImageThatIsMeant(t *testing.T) {
	image := imagetest.Single(t, "linux/amd64", []byte("layer"))
	full := func(name string) map[string]string { return map[string]string{"io.containerd.image.name": name} }
	for _, c := range []struct {
		name, reference string
		annotations     []map[string]string
		says            string // empty: it is found
	}{
		{"by tag", ":v2", []map[string]string{imagetest.Tagged("v1"), imagetest.Tagged("v2")}, ""},
		{"by the tag of a whole name", ":v2", []map[string]string{full("docker.io/library/busybox:v2")}, ""},
		{"by the tag of a whole name with a port", ":v2", []map[string]string{imagetest.Tagged("localhost:5000/busybox:v2")}, ""},
		{"by the tag that a whole name leaves out", ":latest", []map[string]string{imagetest.Tagged("localhost:5000/busybox")}, ""},
		{"the only one without a tag", "", []map[string]string{nil}, ""},
		{"no such tag", ":v3", []map[string]string{imagetest.Tagged("v1"), full("x:v2")}, `only "v1", "v2"`},
		{"no image", "", nil, "no image"},
		{"a hostile tag", ":v3", []map[string]string{imagetest.Tagged("\x1b[31m\n")}, `\x1b[31m`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			image.WriteLayout(t, dir, c.annotations...)
			got, err := layoutsource.Source{}.Resolve(t.Context(), imagesource.ResolveRequest{Reference: dir + c.reference})
			if c.says == "" && (err != nil || got.Root.Digest != image.Root.Digest) {
				t.Errorf("got %+v, %v", got, err)
			}
			if c.says != "" {
				check(t, err, fault.NotFound, c.says)
			}
		})
	}
}

func TestLatestIsTakenAmongSeveral(t *testing.T) {
	dir := t.TempDir()
	a, b := imagetest.Single(t, "linux/amd64", []byte("a")), imagetest.Single(t, "linux/amd64", []byte("b"))
	a.WriteLayout(t, dir)
	b.WriteLayout(t, dir)
	entries := func(first, second string) {
		raw := `{"schemaVersion":2,"manifests":[` + entry(a, first) + "," + entry(b, second) + `]}`
		if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entries("old", "latest")
	if got, err := (layoutsource.Source{}).Resolve(t.Context(), imagesource.ResolveRequest{Reference: dir}); err != nil || got.Root.Digest != b.Root.Digest {
		t.Errorf("got %+v, %v", got, err)
	}
	entries("old", "new")
	_, err := layoutsource.Source{}.Resolve(t.Context(), imagesource.ResolveRequest{Reference: dir})
	check(t, err, fault.NotFound, `only "old", "new"`)
	entries("same", "same")
	_, err = layoutsource.Source{}.Resolve(t.Context(), imagesource.ResolveRequest{Reference: dir + ":same"})
	check(t, err, fault.Invalid, "several images")
}

func entry(image imagetest.Image, tag string) string {
	return `{"mediaType":"` + image.Root.MediaType + `","digest":"` + image.Root.Digest.String() + `","size":` +
		strconv.FormatInt(image.Root.Size, 10) + `,"annotations":{"org.opencontainers.image.ref.name":"` + tag + `"}}`
}

// check asks for one line of the right reason.
func check(t *testing.T, err error, want fault.Reason, says string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	t.Log(err)
	if !errors.Is(err, want) || fault.ReasonOf(err) != want {
		t.Errorf("reason %q, want %q", fault.ReasonOf(err), want)
	}
	if !strings.Contains(err.Error(), says) || strings.ContainsAny(err.Error(), "\n\x1b") {
		t.Errorf("it says %q, want something with %q on one line", err, says)
	}
}

func TestBadLayouts(t *testing.T) {
	image := imagetest.Single(t, "linux/amd64", []byte("first"), []byte("second"))
	blob := imagetest.BlobNames(image.Layers[1])[0]
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	instead := func(name string, make func(path string) error) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.Remove(path), make(path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name      string
		spoil     func(t *testing.T, dir string)
		platforms []ocispec.Platform
		want      fault.Reason
		says      string
	}{
		{"another platform", nil, arm64, fault.NotFound, "the image is for linux/amd64"},
		{"a blob of other bytes", write(blob, "Second"), nil, fault.DigestMismatch, image.Layers[1].Digest.String()},
		{"a blob that is too short", write(blob, "sec"), nil, fault.DigestMismatch, "has 3 bytes, the manifest says 6"},
		{"a blob that is too long", write(blob, "second and more"), nil, fault.DigestMismatch, "more than the 6 bytes"},
		{"a missing blob", instead(blob, func(string) error { return nil }), nil, fault.NotFound, "that the layout is whole"},
		{"a link out of the layout", instead(blob, func(path string) error { return os.Symlink("/etc/passwd", path) }), nil, fault.Internal, "escapes"},
		{"a FIFO", instead(blob, func(path string) error { return unix.Mkfifo(path, 0o600) }), nil, fault.Invalid, "not a regular file"},
		{"no marker", instead("oci-layout", func(string) error { return nil }), nil, fault.Invalid, "OCI image layout"},
		{"a layout of the future", write("oci-layout", `{"imageLayoutVersion":"2.0.0"}`), nil, fault.Unsupported, "2.0.0"},
		{"an index that is none", write("index.json", "<html>"), nil, fault.Invalid, "index.json"},
		{"an index without an end", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "index.json"), 1<<40); err != nil {
				t.Fatal(err)
			}
		}, nil, fault.Invalid, "larger than 4 MiB"},
		{"a digest that is a path", write("index.json", `{"manifests":[{"mediaType":"`+ocispec.MediaTypeImageManifest+`","digest":"sha256:../../../etc/passwd","size":1}]}`),
			nil, fault.Invalid, "digest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			image.WriteLayout(t, dir, imagetest.Tagged("latest"))
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			_, files, err := pull(t, dir, c.platforms)
			check(t, err, c.want, c.says)
			if extra := slices.DeleteFunc(files, func(name string) bool { return name == imagetest.BlobNames(image.Layers[0])[0] }); len(extra) > 0 {
				t.Errorf("left behind: %v", extra)
			}
		})
	}
}

func TestBadReferencesAndTars(t *testing.T) {
	image, dir := imagetest.Single(t, "linux/amd64", bytes.Repeat([]byte("x"), 1<<20)), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	image.WriteTar(t, at("good.tar"), imagetest.Tagged("latest"))
	good, err := os.ReadFile(at("good.tar"))
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(good); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	links := tarOf(t, &tar.Header{Typeflag: tar.TypeSymlink, Name: "oci-layout", Linkname: "/etc/passwd"},
		&tar.Header{Typeflag: tar.TypeReg, Name: "../../index.json"})
	for name, raw := range map[string][]byte{
		"packed.tar": packed.Bytes(), "short.tar": good[:len(good)/2], "text.tar": bytes.Repeat([]byte("text"), 1000), "empty.tar": nil, "links.tar": links,
		"docker.tar": tarOf(t, &tar.Header{Typeflag: tar.TypeReg, Name: "manifest.json"}),
	} {
		if err := os.WriteFile(at(name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, reference string
		want            fault.Reason
		says            string
	}{
		{"a relative path", "dir:tag", fault.Invalid, "not absolute"},
		{"nothing", "", fault.Invalid, "not absolute"},
		{"a path there is not", at("none:tag"), fault.NotFound, "check the path"},
		{"a FIFO", at("fifo"), fault.Invalid, "neither a directory nor a file"},
		{"a compressed tar", at("packed.tar"), fault.Unsupported, "unpack it first"},
		{"half a tar", at("short.tar"), fault.Invalid, ""},
		{"a text", at("text.tar"), fault.Invalid, "no tar"},
		{"an empty file", at("empty.tar"), fault.Invalid, "OCI image layout"},
		{"a tar of links and names that climb", at("links.tar"), fault.Invalid, "OCI image layout"},
		{"an old archive of Docker", at("docker.tar"), fault.Unsupported, "Docker's own old format"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, files, err := pull(t, c.reference, nil)
			check(t, err, c.want, c.says)
			if len(files) != 0 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
}

func tarOf(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPullCanBeCancelled(t *testing.T) {
	dir := t.TempDir()
	two(t).WriteLayout(t, dir, imagetest.Tagged("latest"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	into := t.TempDir()
	_, err := layoutsource.Source{}.Pull(ctx, imagesource.PullRequest{Reference: dir, LayoutPath: into}, nil)
	if !errors.Is(err, context.Canceled) || len(imagetest.Files(t, into)) != 0 {
		t.Errorf("error %v, files %v", err, imagetest.Files(t, into))
	}
}
