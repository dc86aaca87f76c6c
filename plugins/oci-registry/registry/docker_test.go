package registry_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/vzctl/vzctl/plugins/oci-registry/registry"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
)

// dockerRegistry runs Debian's docker-registry on loopback with its own storage until the test ends, and returns its address.
func dockerRegistry(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("needs Debian's package docker-registry")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	if err := listener.Close(); err != nil { // for the registry, which cannot choose one itself
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", dir, host)
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "serve", path)
	var words bytes.Buffer
	command.Stdout, command.Stderr = &words, &words
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = command.Wait() // it is killed below
		close(gone)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-gone
	})
	await(t, host, gone, &words)
	return host
}

// await asks until the registry answers: it has no way to say when it is ready.
func await(t testing.TB, host string, gone <-chan struct{}, words *bytes.Buffer) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			t.Fatalf("docker-registry ended: %s", words)
		case <-deadline:
			t.Fatal("docker-registry does not answer")
		case <-tick.C:
			if response, err := http.Get("http://" + host + "/v2/"); err == nil {
				_ = response.Body.Close()
				return
			}
		}
	}
}

// push sends an image to a registry.
func push(t testing.TB, host, repository, tag string, image imagetest.Image) {
	t.Helper()
	repo, err := remote.NewRepository(host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	isManifest := func(d ocispec.Descriptor) bool {
		for _, m := range image.Manifests {
			if m.Digest == d.Digest {
				return true
			}
		}
		return d.Digest == image.Root.Digest
	}
	for d, raw := range image.Blobs {
		blob := ocispec.Descriptor{Digest: d, Size: int64(len(raw))}
		if isManifest(blob) {
			continue
		}
		if err := repo.Blobs().Push(t.Context(), blob, bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range append(image.Manifests, image.Root) {
		m.Platform = nil
		if err := repo.Manifests().Push(t.Context(), m, bytes.NewReader(image.Blobs[m.Digest])); err != nil {
			t.Fatal(err)
		}
	}
	if err := repo.Tag(t.Context(), image.Root, tag); err != nil {
		t.Fatal(err)
	}
}

func random(size int, seed uint64) []byte {
	var key [32]byte
	key[0] = byte(seed)
	raw := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(raw) // never fails
	return raw
}

// BenchmarkPull compares a pull with curl and sha256sum of the same blobs, in turn. The ratio is what matters.
func BenchmarkPull(b *testing.B) {
	for _, name := range []string{"curl", "sha256sum"} {
		if _, err := exec.LookPath(name); err != nil {
			b.Skip("needs " + name)
		}
	}
	host := dockerRegistry(b)
	for name, image := range map[string]imagetest.Image{
		"one blob of 128 MiB":  imagetest.Single(b, "linux/amd64", random(128<<20, 1)),
		"four blobs of 32 MiB": imagetest.Single(b, "linux/amd64", random(32<<20, 2), random(32<<20, 3), random(32<<20, 4), random(32<<20, 5)),
	} {
		repository := fmt.Sprintf("bench-%x", sha256.Sum256([]byte(name)))[:16]
		push(b, host, repository, "latest", image)
		b.Run(name, func(b *testing.B) {
			var ours, theirs time.Duration
			for b.Loop() {
				begin := time.Now()
				pullOnce(b, host+"/"+repository, b.TempDir())
				ours += time.Since(begin)
				begin = time.Now()
				for _, d := range image.Layers {
					curlOnce(b, fmt.Sprintf("http://%s/v2/%s/blobs/%s", host, repository, d.Digest), filepath.Join(b.TempDir(), "blob"))
				}
				theirs += time.Since(begin)
			}
			b.ReportMetric(float64(ours)/float64(theirs), "pull/curl")
			b.ReportMetric(float64(theirs.Milliseconds())/float64(b.N), "ms-curl/op")
			b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "ms-pull/op")
		})
	}
}

func pullOnce(b *testing.B, reference, dir string) {
	if _, err := (registry.Source{}).Pull(b.Context(), imagesource.PullRequest{Reference: reference, LayoutPath: dir}, nil); err != nil {
		b.Fatal(err)
	}
}

func curlOnce(b *testing.B, url, path string) {
	for _, argv := range [][]string{{"curl", "-sf", "-o", path, url}, {"sha256sum", path}} {
		command := exec.CommandContext(b.Context(), argv[0], argv[1:]...)
		command.Stdout = io.Discard
		if err := command.Run(); err != nil {
			b.Fatal(argv, err)
		}
	}
}
