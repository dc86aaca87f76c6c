// Command ext4-builder is the rootfs builder plugin that turns images into ext4 disks, without mounting anything and without privilege.
package main

import (
	"github.com/vzctl/vzctl/plugins/ext4-builder/builder"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

var version = "dev" // set by the linker

func main() {
	sdk.Serve(rootfs.Plugin(sdk.Info{
		Name:         "ext4-builder",
		Version:      version,
		Description:  "image layers to one read-only ext4 disk",
		Platforms:    []string{"linux/amd64", "linux/arm64", "darwin/arm64"},
		Capabilities: map[string][]string{rootfs.CapabilityFileSystem: {builder.FileSystem}},
	}, builder.Builder{}))
}
