package registry_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/oci-registry/registry"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
)

// TestMain is also the other process: with these variables it pulls and nothing else.
func TestMain(m *testing.M) {
	reference := os.Getenv("TEST_PULL_REFERENCE")
	if reference == "" {
		os.Exit(m.Run())
	}
	_, err := registry.Source{}.Pull(context.Background(), imagesource.PullRequest{Reference: reference, Platforms: amd64, LayoutPath: os.Getenv("TEST_PULL_LAYOUT")}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pullProcess(t *testing.T, reference, dir string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program)
	command.Env = append(os.Environ(), "TEST_PULL_REFERENCE="+reference, "TEST_PULL_LAYOUT="+dir)
	command.Stderr = os.Stderr
	return command
}

func TestRegistryPullsByTwoProcessesShareTheWork(t *testing.T) {
	image, dir := two(t), t.TempDir()
	server := imagetest.Serve(t, image)
	var both sync.WaitGroup
	for range 2 {
		command := pullProcess(t, server.Host+"/x", dir)
		both.Go(func() {
			if err := command.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	extra, missing := difference(imagetest.Files(t, dir), expected(image, 0, 0, 1))
	if len(extra) != 1 || len(missing) != 0 {
		t.Errorf("also %v, missing %v", extra, missing)
	}
	for _, layer := range image.Layers[:2] {
		if n := server.Requests(layer.Digest.String()); n != 1 {
			t.Errorf("layer %s came %d times", layer.Digest, n)
		}
	}
}

func TestRegistryPullThatIsKilledLeavesNoHalfBlob(t *testing.T) {
	image, dir := two(t), t.TempDir()
	server := imagetest.Serve(t, image)
	half, killed := make(chan struct{}), make(chan struct{})
	server.Lie(func(w http.ResponseWriter, r *http.Request) bool {
		layer := image.Layers[1]
		if !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(layer.Size))
		_, _ = w.Write(image.Blobs[layer.Digest][:layer.Size/2])
		w.(http.Flusher).Flush()
		close(half)
		<-killed
		return true
	})
	command := pullProcess(t, server.Host+"/x", dir)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	<-half
	awaitFile(t, filepath.Join(dir, "ingest", "sha256-"+image.Layers[1].Digest.Encoded()))
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err == nil {
		t.Error("it was not killed")
	}
	close(killed)
	if names := imagetest.BlobNames(image.Layers[1]); slices.Contains(imagetest.Files(t, dir), names[0]) {
		t.Error("half a blob has the name of a whole one")
	}
	server.Honest()
	if _, err := (registry.Source{}).Pull(t.Context(), imagesource.PullRequest{Reference: server.Host + "/x", Platforms: amd64, LayoutPath: dir}, nil); err != nil {
		t.Fatalf("the next pull: %v", err)
	}
	extra, missing := difference(imagetest.Files(t, dir), expected(image, 0, 0, 1))
	if len(extra) != 1 || len(missing) != 0 {
		t.Errorf("also %v, missing %v", extra, missing)
	}
}

// awaitFile returns once another process has made a file, which it has no way to tell.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-deadline:
			t.Fatalf("%s does not appear", path)
		case <-tick.C:
			if _, err := os.Stat(path); err == nil {
				return
			}
		}
	}
}
