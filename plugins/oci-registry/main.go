// Command oci-registry is the image source plugin for OCI and Docker registries. What it does is in package registry.
package main

import (
	"github.com/vzctl/vzctl/plugins/oci-registry/registry"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/imagesource"
)

var version = "dev" // set by the linker

func main() {
	sdk.Serve(imagesource.Plugin(sdk.Info{
		Name:        "oci-registry",
		Version:     version,
		Description: "pulls images from OCI and Docker registries",
		Platforms:   []string{"linux/amd64", "linux/arm64", "darwin/arm64"},
	}, registry.Source{UserAgent: "vzctl/" + version}))
}
