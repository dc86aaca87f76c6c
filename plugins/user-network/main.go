// User-network is the default network plugin: networks in user space that need no privilege. Package usernet has it; docs/network.md describes it.
package main

import (
	"github.com/vzctl/vzctl/plugins/user-network/usernet"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/network"
)

// version is set by the linker.
var version = "dev"

func main() {
	sdk.Serve(network.Plugin(sdk.Info{
		Name:         "user-network",
		Version:      version,
		Description:  "networks in user space, without privilege",
		Capabilities: usernet.Capabilities(),
	}, new(usernet.Plugin)))
}
