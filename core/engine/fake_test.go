package engine

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/plugintest"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// script is the variable that tells the fake plugins what to do wrong: words, separated by spaces.
const script = "VZCTL_ENGINE_TEST"

// calls is a file to which the plugins add what they are asked, a word a line.
const calls = "VZCTL_ENGINE_TEST_CALLS"

func note(call string) {
	if f, err := os.OpenFile(os.Getenv(calls), os.O_WRONLY|os.O_APPEND, 0); err == nil {
		_, err = f.WriteString(call + "\n")
		if err = errors.Join(err, f.Close()); err != nil {
			panic(err)
		}
	}
}

func told(word string) bool { return slices.Contains(strings.Fields(os.Getenv(script)), word) }

// TestMain is a plugin when the test starts itself by the name of one.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	info := sdk.Info{Name: name, Version: "1.0"}
	switch name {
	case "oci-registry":
		sdk.Serve(imagesource.Plugin(info, source{}))
	case "ext4-builder":
		sdk.Serve(rootfs.Plugin(info, builder{}))
	case "kernel-local":
		sdk.Serve(kernel.Plugin(info, provider{}))
	case "qemu-hypervisor":
		arch := "amd64"
		if told("foreign-arch") {
			arch = "riscv64"
		}
		info.Capabilities = map[string][]string{hypervisor.CapabilityArch: {arch}, hypervisor.CapabilityLink: {network.LinkUnixDatagram},
			hypervisor.CapabilityDisk: {hypervisor.DiskFile}, hypervisor.CapabilityKernel: {kernel.FormatRaw}}
		if told("templates") {
			info.Capabilities[hypervisor.CapabilityFeature] = []string{hypervisor.FeatureTemplate}
		}
		if told("nested") {
			info.Capabilities[hypervisor.CapabilityFeature] = []string{hypervisor.FeatureNestedVirt}
		}
		sdk.Serve(hypervisor.Plugin(info, &machines{}))
	default:
		os.Exit(m.Run())
	}
}

var errTold = &fault.Error{Reason: fault.Unavailable, Op: "work", Cause: errors.New("it was told to fail")}

type source struct{ imagesource.Source }

// Resolve knows one image, which is for one platform.
func (source) Resolve(_ context.Context, r imagesource.ResolveRequest) (imagesource.Resolved, error) {
	if r.Reference != "example.com/multi:1" && r.Platforms[0].Architecture != "amd64" {
		return imagesource.Resolved{}, &fault.Error{Reason: fault.NotFound, Op: "resolve", Subject: r.Reference,
			Cause: errors.New("it has no manifest for " + r.Platforms[0].Architecture + ", only for linux/amd64")}
	}
	return imagesource.Resolved{CanonicalReference: r.Reference, Root: ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("root"), Size: 4}}, nil
}

// Pull puts an image without layers into the layout.
func (source) Pull(_ context.Context, r imagesource.PullRequest, _ progress.Func) (imagesource.Pulled, error) {
	if told("pull-fails") {
		return imagesource.Pulled{}, errTold
	}
	put := func(mediaType string, value any) (ocispec.Descriptor, error) {
		body, err := json.Marshal(value)
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
		dir := filepath.Join(r.LayoutPath, "blobs", "sha256")
		return d, errors.Join(err, os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, d.Digest.Encoded()), body, 0o600))
	}
	platform := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	image := ocispec.Image{Platform: platform, Config: ocispec.ImageConfig{Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}}}
	image.RootFS.Type = "layers"
	var config any = image
	if told("health") {
		config = map[string]any{"os": "linux", "architecture": "amd64", "rootfs": image.RootFS,
			"config": map[string]any{"Cmd": []string{"sh"}, "Healthcheck": map[string]any{"Test": []string{"CMD", "ask"}, "Retries": 9}}}
	}
	if told("bad-health") {
		config = map[string]any{"os": "linux", "architecture": "amd64", "rootfs": image.RootFS,
			"config": map[string]any{"Cmd": []string{"sh"}, "Healthcheck": map[string]any{"Test": []string{"HTTP", "/"}}}}
	}
	configured, err := put(ocispec.MediaTypeImageConfig, config)
	if err != nil {
		return imagesource.Pulled{}, err
	}
	root, err := put(ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest, Config: configured, Layers: []ocispec.Descriptor{}})
	root.Platform = &platform
	return imagesource.Pulled{Resolved: imagesource.Resolved{CanonicalReference: r.Reference, Root: root, Manifests: []ocispec.Descriptor{root}}}, err
}

type builder struct{ rootfs.Builder }

func (builder) Build(_ context.Context, r rootfs.BuildRequest, _ progress.Func) (rootfs.Built, error) {
	note("build")
	switch {
	case told("build-fails"):
		return rootfs.Built{}, errTold
	case told("build-crashes"):
		os.Exit(3)
	}
	path := filepath.Join(r.CacheDir, "base.img")
	if told("disk-elsewhere") {
		path = filepath.Join(filepath.Dir(r.CacheDir), "elsewhere.img")
	}
	if told("disk-is-a-link") {
		return rootfs.Built{Disks: []rootfs.Disk{{Path: path, FileSystem: "ext4", ReadOnly: true}}}, os.Symlink("/etc/passwd", path)
	}
	return rootfs.Built{Disks: []rootfs.Disk{{Path: path, FileSystem: "ext4", Digest: digest.FromString("base"), ReadOnly: true}}},
		errors.Join(os.MkdirAll(r.CacheDir, 0o700), os.WriteFile(path, nil, 0o600))
}

// List knows none: nothing is to be deleted.
func (builder) List(context.Context, string) ([]rootfs.Entry, error) {
	note("list")
	return nil, nil
}

func (builder) CreateWritable(_ context.Context, r rootfs.WritableRequest) (rootfs.Disk, error) {
	note("layer")
	if told("layer-fails") {
		return rootfs.Disk{}, errTold
	}
	return rootfs.Disk{Path: r.Path, FileSystem: "ext4", SizeBytes: r.SizeBytes}, os.WriteFile(r.Path, []byte("layer"), 0o600)
}

type provider struct{ kernel.Provider }

func (provider) Ensure(_ context.Context, r kernel.EnsureRequest, _ progress.Func) (kernel.Kernel, error) {
	note("kernel")
	if told("kernel-fails") {
		return kernel.Kernel{}, errTold
	}
	k := kernel.Kernel{Name: "test", Path: "/boot/vmlinux", Format: kernel.FormatRaw, Arch: r.Arch}
	if r.Reference != "" {
		k.Path, k.DependsOn = r.Reference, []string{r.Reference + ".json"}
	}
	return k, nil
}

// newEngine returns an engine on a root of its own, whose plugins are those above.
func newEngine(t *testing.T) *Engine {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", plugintest.RuntimeDir(t))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	plugins := filepath.Join(dir, "plugins")
	if err := os.Mkdir(plugins, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"oci-registry", "ext4-builder", "kernel-local", "qemu-hypervisor"} {
		if err := os.Symlink(self, filepath.Join(plugins, name)); err != nil {
			t.Fatal(err)
		}
	}
	// Named after the guests' architecture, so that the tests are the same on every host.
	if err := os.WriteFile(filepath.Join(dir, "initrd-amd64.cpio"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := Open(t.Context(), Options{Root: filepath.Join(dir, "root"), Config: &config.Config{}, PluginsDir: plugins,
		Program: []string{filepath.Join(dir, "no-vzctl")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // root's are not below XDG_RUNTIME_DIR
		left, _ := os.ReadDir(e.store.Paths().Sandboxes())
		for _, sandbox := range left {
			_ = os.RemoveAll(e.store.Paths().SandboxRun(sandbox.Name()))
		}
	})
	return e
}

// request of a container without a network.
func request(name string) CreateRequest {
	return CreateRequest{Name: name, Image: "example.com/app:1", Platform: "linux/amd64", Network: NoNetwork}
}
