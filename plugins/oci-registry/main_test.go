package main

import (
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
	program, err := plugintest.Build(t.TempDir(), "github.com/vzctl/vzctl/plugins/oci-registry")
	if err != nil {
		t.Fatal(err)
	}
	host := imagetest.Serve(t, image).Host
	conformance.Test(t, conformance.Target{Path: program},
		conformance.Fixture{ImageSource: &conformance.ImageSourceFixture{
			Reference: host + "/some/image:latest", Missing: host + "/some/image:none", Platform: arm,
			Root: image.Root.Digest, Manifest: image.Manifests[1].Digest,
		}})
}
