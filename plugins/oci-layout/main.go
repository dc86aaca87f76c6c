// Command oci-layout is the image source plugin for OCI image layouts on this machine. What it does is in package layoutsource.
package main

import (
	"github.com/vzctl/vzctl/plugins/oci-layout/layoutsource"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/imagesource"
)

var version = "dev" // set by the linker

func main() {
	sdk.Serve(imagesource.Plugin(sdk.Info{
		Name:        "oci-layout",
		Version:     version,
		Description: "reads images from OCI layouts, directories or tar files",
		Platforms:   []string{"linux/amd64", "linux/arm64", "darwin/arm64"},
	}, layoutsource.Source{}))
}
