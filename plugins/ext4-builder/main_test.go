package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/conformance"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/launch"
	"github.com/vzctl/vzctl/sdk/plugintest"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

func program(t *testing.T) string {
	t.Helper()
	path, err := plugintest.Build(t.TempDir(), "github.com/vzctl/vzctl/plugins/ext4-builder")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConformance(t *testing.T) {
	conformance.Test(t, conformance.Target{Path: program(t)}, conformance.Fixture{})
}

func TestDisksOfTheProgramAreSound(t *testing.T) {
	process, err := launch.Start(t.Context(), launch.Options{Path: program(t), Kind: sdk.RootfsBuilder, RuntimeDir: plugintest.RuntimeDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Close(context.Background()); err != nil { // the test's context has ended by now
			t.Error(err)
		}
	})
	client := rootfs.NewClient(process.Conn(), process.Info())

	var content bytes.Buffer
	w := tar.NewWriter(&content)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}), w.Close()); err != nil {
		t.Fatal(err)
	}
	layout := t.TempDir()
	manifest := imagetest.WriteLayout(t, layout, imagetest.Forms[2], content.Bytes())
	request := rootfs.BuildRequest{RequestID: "1", LayoutPath: layout, Manifest: manifest, CacheDir: t.TempDir()}
	var last progress.Update
	first, err := client.Build(t.Context(), request, func(u progress.Update) { last = u })
	if err != nil {
		t.Fatal(err)
	}
	imagetest.Fsck(t, first.Disks[0].Path)
	if first.Cached || last.Done != last.Total || last.Total == 0 {
		t.Errorf("%+v, progress ended with %+v", first, last)
	}
	again, err := client.Build(t.Context(), request, nil)
	if err != nil || !again.Cached || again.Disks[0] != first.Disks[0] {
		t.Errorf("%+v, %v", again, err)
	}
	layer, err := client.CreateWritable(t.Context(), rootfs.WritableRequest{
		RequestID: "2", Path: filepath.Join(t.TempDir(), "layer"), SizeBytes: 1 << 30, Purpose: rootfs.Layer,
	})
	if err != nil {
		t.Fatal(err)
	}
	imagetest.Fsck(t, layer.Path)
	tarball := filepath.Join(t.TempDir(), "out.tar")
	if size, err := client.Export(t.Context(), rootfs.ExportRequest{RequestID: "3", Disks: []rootfs.Disk{first.Disks[0], layer}, OutputPath: tarball}, nil); err != nil || size == 0 {
		t.Errorf("export: %d bytes, %v", size, err)
	}
	request.Manifest = digest.FromString("nothing")
	if _, err := client.Build(t.Context(), request, nil); !errors.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}
