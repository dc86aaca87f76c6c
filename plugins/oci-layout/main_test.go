package main

import (
	"path/filepath"
	"testing"

	"github.com/vzctl/vzctl/sdk/conformance"
	"github.com/vzctl/vzctl/sdk/imagesource/imagetest"
	"github.com/vzctl/vzctl/sdk/platform"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

func TestConformance(t *testing.T) {
	image := imagetest.Index(t, imagetest.Single(t, "linux/amd64", make([]byte, 1<<20)), imagetest.Single(t, "linux/arm64", make([]byte, 8<<20)))
	arm, err := platform.Parse("linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program, err := plugintest.Build(dir, "github.com/vzctl/vzctl/plugins/oci-layout")
	if err != nil {
		t.Fatal(err)
	}
	image.WriteLayout(t, filepath.Join(dir, "layout"), imagetest.Tagged("v1"))
	image.WriteTar(t, filepath.Join(dir, "layout.tar"), imagetest.Tagged("v1"))
	for _, name := range []string{"layout", "layout.tar"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			conformance.Test(t, conformance.Target{Path: program}, conformance.Fixture{ImageSource: &conformance.ImageSourceFixture{
				Reference: path + ":v1", Missing: path + ":none", Platform: arm, Root: image.Root.Digest, Manifest: image.Manifests[1].Digest,
			}})
		})
	}
}
