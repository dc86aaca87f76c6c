package registry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/plugins/oci-registry/registry"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
)

// impatient gives up soon, so that tests of hanging registries are short.
var impatient = registry.Source{StallTimeout: 300 * time.Millisecond, ConnectTimeout: time.Second}

// answer makes requests whose path has this part get a response.
func answer(part string, status int, header map[string]string, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}
}

func TestRegistryFailures(t *testing.T) {
	image := imagetest.Single(t, "linux/amd64", random(1<<20, 1), random(2<<20, 2))
	layer := image.Layers[1]
	content := image.Blobs[layer.Digest]
	blob := "/blobs/" + layer.Digest.String()
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, c := range []struct {
		name      string
		image     imagetest.Image // the one above if it has no blobs
		intercept func(w http.ResponseWriter, r *http.Request) bool
		tag       string
		platforms []ocispec.Platform
		want      fault.Reason
		says      string
	}{
		{name: "an unknown tag", tag: ":none", want: fault.NotFound, says: "check name and tag"},
		{name: "an unknown digest", tag: "@sha256:" + strings.Repeat("0", 64), want: fault.NotFound, says: "check name and tag"},
		{name: "an invalid reference", tag: ":///", want: fault.Invalid, says: "write it like"},
		{name: "another platform", platforms: arm64, want: fault.NotFound, says: "the image is for linux/amd64"},
		{name: "a blob of other bytes", want: fault.DigestMismatch, says: layer.Digest.String(),
			intercept: answer(blob, 200, nil, string(content[1:])+"x")},
		{name: "a blob that says another size", want: fault.DigestMismatch, says: "damaged in the registry",
			intercept: answer(blob, 200, map[string]string{"Content-Length": "5"}, "hello")},
		{name: "a blob that ends early without saying", want: fault.DigestMismatch, says: "the manifest says 2097152",
			intercept: func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, blob) {
					return false
				}
				_, _ = w.Write(content[:1000])
				w.(http.Flusher).Flush() // chunked from here
				return true
			}},
		{name: "a blob without an end", want: fault.DigestMismatch, says: "more than the 2097152 bytes",
			intercept: func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, blob) {
					return false
				}
				for {
					if _, err := w.Write(content); err != nil {
						return true
					}
				}
			}},
		{name: "a connection that breaks off", want: fault.Unavailable, says: "broke off in the middle of a blob; try again",
			intercept: func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, blob) {
					return false
				}
				w.Header().Set("Content-Length", fmt.Sprint(layer.Size))
				_, _ = w.Write(content[:1000])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}},
		{name: "silence instead of a manifest", want: fault.Unavailable, says: "sent nothing for 300ms",
			intercept: func(w http.ResponseWriter, r *http.Request) bool { hang(w, r); return true }},
		{name: "silence in the middle of a blob", want: fault.Unavailable, says: "sent nothing for 300ms",
			intercept: func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, blob) {
					return false
				}
				w.Header().Set("Content-Length", fmt.Sprint(layer.Size))
				_, _ = w.Write(content[:1000])
				w.(http.Flusher).Flush()
				hang(w, r)
				return true
			}},
		{name: "a manifest drop by drop", want: fault.Unavailable, says: "did not send a small document within 1.2s",
			intercept: func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
				w.Header().Set("Content-Length", "1000000")
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						_, _ = w.Write([]byte(" "))
						w.(http.Flusher).Flush()
					case <-r.Context().Done():
						return true
					}
				}
			}},
		{name: "HTML instead of a manifest", want: fault.Unavailable, says: "HTML page",
			intercept: answer("/manifests/", 200, map[string]string{"Content-Type": "text/html; charset=utf-8"}, "<!DOCTYPE html><title>Sign in</title>")},
		{name: "HTML that calls itself a manifest", want: fault.Unavailable, says: "HTML page",
			intercept: answer("/manifests/", 200, map[string]string{"Content-Type": ocispec.MediaTypeImageManifest}, "<html>")},
		{name: "HTML instead of a blob", want: fault.DigestMismatch, says: "another size",
			intercept: answer(blob, 200, map[string]string{"Content-Type": "text/html"}, "<html>")},
		{name: "a manifest of other bytes", tag: "@" + image.Root.Digest.String(), want: fault.DigestMismatch, says: "digest",
			intercept: answer("/manifests/", 200, map[string]string{"Content-Type": ocispec.MediaTypeImageManifest}, string(image.Blobs[image.Root.Digest])+" ")},
		{name: "a header with another digest", want: fault.DigestMismatch, says: "damaged",
			intercept: answer("/manifests/", 200, map[string]string{"Content-Type": ocispec.MediaTypeImageManifest,
				"Docker-Content-Digest": layer.Digest.String()}, string(image.Blobs[image.Root.Digest]))},
		{name: "a manifest that is too large", want: fault.Invalid, says: "larger than 4 MiB",
			intercept: answer("/manifests/", 200, map[string]string{"Content-Type": ocispec.MediaTypeImageManifest,
				"Docker-Content-Digest": layer.Digest.String(), "Content-Length": fmt.Sprint(5 << 20)}, strings.Repeat(" ", 5<<20))},
		{name: "a server error", want: fault.Unavailable, says: "status 503",
			intercept: answer("/manifests/", 503, nil, "")},
		{name: "an endless error", want: fault.Unavailable, says: "status 500",
			intercept: func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(500)
				for {
					if _, err := w.Write(content); err != nil {
						return true
					}
				}
			}},
		{name: "too many requests", want: fault.Unavailable, says: "wait a while",
			intercept: answer("/manifests/", 429, nil, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`)},
		{name: "no access", want: fault.PermissionDenied, says: "DENIED",
			intercept: answer("/manifests/", 403, nil, `{"errors":[{"code":"DENIED","message":"no"}]}`)},
		{name: "a login that is wanted", want: fault.Unauthenticated, says: "give credentials",
			intercept: answer("/manifests/", 401, map[string]string{"WWW-Authenticate": `Basic realm="x"`}, "")},
		{name: "a refusal without a way to log in", want: fault.Unauthenticated, says: "give credentials",
			intercept: answer("/manifests/", 401, nil, "")},
		{name: "an error that would paint the terminal", want: fault.PermissionDenied, says: `\x1b[31mred\nline`,
			intercept: answer("/manifests/", 403, nil, `{"errors":[{"code":"DENIED","message":"\u001b[31mred\nline"}]}`)},
		{name: "redirects without an end", want: fault.Unavailable, says: "redirects",
			intercept: func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, r.URL.Path+"?secret=1", http.StatusTemporaryRedirect)
				return true
			}},
		{name: "a manifest of schema 1", want: fault.Unsupported, says: "schema 1",
			image: image.WithRoot("application/vnd.docker.distribution.manifest.v1+prettyjws", []byte(`{"schemaVersion":1,"name":"x","tag":"latest"}`))},
		{name: "a chart", want: fault.Unsupported, says: "helm",
			image: image.WithRoot(ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"`+
				layer.Digest.String()+`","size":2},"layers":[]}`))},
		{name: "a foreign layer", want: fault.Unsupported, says: "foreign",
			image: withLayer(t, image, ocispec.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: layer.Digest, Size: 1})},
		{name: "a layer whose digest is a path", want: fault.Invalid, says: "digest",
			image: withLayer(t, image, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: "sha256:../../../../etc/passwd", Size: 1})},
		{name: "a layer whose digest is nothing", want: fault.Invalid, says: "digest",
			image: withLayer(t, image, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Size: 1})},
		{name: "a layer of negative size", want: fault.Invalid, says: "size",
			image: withLayer(t, image, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: layer.Digest, Size: -1})},
		{name: "a layer the registry does not have", want: fault.NotFound, says: "misses a part",
			image: withLayer(t, image, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: image.Root.Digest[:60] + "00000000000", Size: 1})},
		{name: "a manifest that is an index too", want: fault.Unavailable, says: "not an image manifest",
			image: image.WithRoot(ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}`))},
		{name: "an empty index", want: fault.NotFound, says: "lists no image",
			image: image.WithRoot(ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.image.Blobs == nil {
				c.image = image
			}
			server, dir := imagetest.Serve(t, c.image), t.TempDir()
			server.Intercept = c.intercept
			_, err := impatient.Pull(t.Context(), imagesource.PullRequest{Reference: server.Host + "/x" + c.tag, Platforms: c.platforms, LayoutPath: dir}, nil)
			check(t, err, c.want, c.says)
			for _, name := range imagetest.Files(t, dir) { // what came whole before may stay
				if !strings.HasSuffix(name, image.Layers[0].Digest.Encoded()) {
					t.Errorf("left behind: %s", name)
				}
			}
		})
	}
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
	if !strings.Contains(err.Error(), says) || strings.ContainsAny(err.Error(), "\n\x1b") || strings.Contains(err.Error(), "secret") {
		t.Errorf("it says %q, want something with %q on one line", err, says)
	}
}

// withLayer replaces the layers of an image.
func withLayer(t *testing.T, image imagetest.Image, layer ocispec.Descriptor) imagetest.Image {
	t.Helper()
	var manifest ocispec.Manifest
	if err := json.Unmarshal(image.Blobs[image.Root.Digest], &manifest); err != nil {
		t.Fatal(err)
	}
	manifest.Layers = []ocispec.Descriptor{layer}
	raw, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	return image.WithRoot(ocispec.MediaTypeImageManifest, raw)
}

func TestRegistryThatIsNotThere(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	plain := imagetest.Serve(t, imagetest.Single(t, "linux/amd64"))
	for _, c := range []struct {
		name, host, says string
		access           imagesource.Access
	}{
		{"nobody listens", down, "that the registry runs", imagesource.Access{}},
		{"a name there is not", "registry.invalid", "cannot be resolved", imagesource.Access{}},
		{"a server that never answers", mute.Addr().String(), "sent nothing for 300ms", imagesource.Access{}},
		{"a server that never answers TLS", mute.Addr().String(), "TLS", imagesource.Access{InsecureSkipVerify: true}},
		{"a server without TLS", plain.Host, "does not speak TLS", imagesource.Access{InsecureSkipVerify: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := impatient.Resolve(t.Context(), imagesource.ResolveRequest{Reference: c.host + "/x", Access: c.access})
			if c.says == "TLS" {
				c.says = "" // our handshake deadline or that of silence, whichever comes first
			}
			check(t, err, fault.Unavailable, c.says)
		})
	}
}

func TestRegistryRefusesCertificatesThatAreNone(t *testing.T) {
	path := t.TempDir() + "/ca.pem"
	if err := os.WriteFile(path, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := impatient.Resolve(t.Context(), imagesource.ResolveRequest{Reference: "localhost:1/x", Access: imagesource.Access{CAPath: path}})
	check(t, err, fault.Invalid, "holds no certificate")
}
