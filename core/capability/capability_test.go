package capability

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/network"
)

func micro() sdk.Info {
	return sdk.Info{Name: "micro", Kind: sdk.Hypervisor, Capabilities: map[string][]string{
		hypervisor.CapabilityArch:       {"amd64"},
		hypervisor.CapabilityMaxCPUs:    {"4"},
		hypervisor.CapabilityMinMemory:  {"67108864"},
		hypervisor.CapabilityDisk:       {hypervisor.DiskFile},
		hypervisor.CapabilityShare:      {},
		hypervisor.CapabilityMaxDevices: {"4"},
		hypervisor.CapabilityLink:       {network.LinkUnixStream, network.LinkUnixDatagram},
		hypervisor.CapabilityKernel:     {kernel.FormatPVH, kernel.FormatBzImage},
		hypervisor.CapabilityOption:     {"accelerator"},
	}}
}

func full() sdk.Info {
	return sdk.Info{Name: "full", Kind: sdk.Hypervisor, Capabilities: map[string][]string{
		hypervisor.CapabilityArch:    {"amd64", "arm64"},
		hypervisor.CapabilityDisk:    {hypervisor.DiskFile, hypervisor.DiskBlock},
		hypervisor.CapabilityShare:   {hypervisor.ShareVirtioFS},
		hypervisor.CapabilityFeature: {hypervisor.FeaturePause},
		hypervisor.CapabilityLink:    {network.LinkTap},
		hypervisor.CapabilityKernel:  {kernel.FormatRaw},
	}}
}

func lan() sdk.Info {
	return sdk.Info{Name: "lan", Kind: sdk.Network, Capabilities: map[string][]string{
		network.CapabilityLink:   {network.LinkTap, network.LinkUnixDatagram, network.LinkUnixStream},
		network.CapabilityFamily: {"ipv4"},
	}}
}

// need that micro and lan meet.
func need() Need {
	return Need{Arch: "amd64", CPUs: 2, MemoryBytes: 256 << 20, Disks: []string{hypervisor.DiskFile, hypervisor.DiskFile}, NICs: 1,
		Options: []string{"accelerator"}, Families: []string{"ipv4"}}
}

func TestWhatBothSidesCanDoIsChosen(t *testing.T) {
	nw := lan()
	got, err := Match(need(), Offer{Hypervisor: micro(), Network: &nw})
	want := Choice{Links: []string{network.LinkUnixDatagram, network.LinkUnixStream}, KernelFormats: []string{kernel.FormatPVH, kernel.FormatBzImage}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWithoutNICsNoNetworkIsAsked(t *testing.T) {
	n := need()
	n.NICs, n.Families = 0, nil
	if got, err := Match(n, Offer{Hypervisor: micro()}); err != nil || len(got.Links) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRefusalsSayWhatIsNeededWhoHasItAndWhatToChange(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Need, *Offer)
		reason fault.Reason
		want   string
	}{
		{"architecture", func(n *Need, _ *Offer) { n.Arch = "arm64" }, fault.Unsupported,
			`use hypervisor "micro": a plugin is needed that runs arm64 guests, and this one does not (arch: amd64); use hypervisor "full", which can, or choose an image of another platform with --platform`},
		{"architecture nobody has", func(n *Need, _ *Offer) { n.Arch = "s390x" }, fault.Unsupported,
			`use hypervisor "micro": a plugin is needed that runs s390x guests, and this one does not (arch: amd64); choose an image of another platform with --platform`},
		{"CPUs", func(n *Need, _ *Offer) { n.CPUs = 8 }, fault.Unsupported,
			`use hypervisor "micro": 8 CPUs are needed, it has at most 4; use hypervisor "full", which can, or give fewer --cpus`},
		{"no CPU", func(n *Need, _ *Offer) { n.CPUs = 0 }, fault.Invalid, `plan VM: a VM needs at least one CPU; give --cpus 1 or more`},
		{"memory", func(n *Need, _ *Offer) { n.MemoryBytes = 16 << 20 }, fault.Invalid,
			`plan VM: 16 MiB of memory are too few for hypervisor "micro", which needs 64 MiB; give --memory 64M or more`},
		{"disk", func(n *Need, _ *Offer) { n.Disks = []string{hypervisor.DiskBlock} }, fault.Unsupported,
			`use hypervisor "micro": a plugin is needed that takes disks of kind block, and this one does not (disk: file); use hypervisor "full", which can`},
		{"share", func(n *Need, _ *Offer) { n.Shares = []string{hypervisor.ShareVirtioFS} }, fault.Unsupported,
			`use hypervisor "micro": a plugin is needed that shares directories by virtiofs, and this one does not; use hypervisor "full", which can, or mount no host directories`},
		{"share that this host cannot", func(n *Need, o *Offer) {
			n.Shares = []string{hypervisor.ShareVirtioFS}
			o.Hypervisor.Capabilities[hypervisor.CapabilityShareProblem] = []string{"virtiofs: no virtiofsd; install it"}
		}, fault.Unsupported, `use hypervisor "micro": it cannot share directories by virtiofs on this host: no virtiofsd; install it`},
		{"devices", func(n *Need, _ *Offer) { n.Disks = slices.Repeat([]string{hypervisor.DiskFile}, 4) }, fault.Unsupported,
			`use hypervisor "micro": 5 disks, shares and network cards are needed, it has at most 4; use hypervisor "full", which can, or mount fewer volumes`},
		{"feature", func(n *Need, _ *Offer) { n.Features = []string{hypervisor.FeatureSnapshot} }, fault.Unsupported,
			`use hypervisor "micro": a plugin is needed that offers snapshot, and this one does not`},
		{"option", func(n *Need, _ *Offer) { n.Options = []string{"turbo"} }, fault.Unsupported,
			`use hypervisor "micro": a plugin is needed that knows the option turbo, and this one does not (option: accelerator); leave the option out`},
		{"kernel", func(n *Need, _ *Offer) { n.KernelFormat = kernel.FormatRaw }, fault.Unsupported,
			`use hypervisor "micro": a plugin is needed that boots kernels of format raw, and this one does not (kernel: elf-pvh, bzimage); use hypervisor "full", which can, or choose another kernel with --kernel`},
		{"no kernel at all", func(_ *Need, o *Offer) { delete(o.Hypervisor.Capabilities, hypervisor.CapabilityKernel) }, fault.Unsupported,
			`use hypervisor "micro": it says of no kernel format that it boots it`},
		{"link", func(_ *Need, o *Offer) { o.Network.Capabilities[network.CapabilityLink] = []string{network.LinkTap} }, fault.Unsupported,
			`use hypervisor "micro": it takes links of type unix-stream, unix-datagram, network "lan" has tap; use hypervisor "full", which can, or choose another network, or --network none`},
		{"no network", func(_ *Need, o *Offer) { o.Network = nil }, fault.Unsupported,
			`use hypervisor "micro": a network card is needed and there is no network plugin; give --network none`},
		{"family", func(n *Need, _ *Offer) { n.Families = []string{"ipv6"} }, fault.Unsupported,
			`use network "lan": a plugin is needed that gives ipv6 addresses, and this one does not (family: ipv4); choose another network`},
		{"network feature", func(n *Need, _ *Offer) { n.NetworkFeatures = []string{network.FeaturePublish} }, fault.Unsupported,
			`use network "lan": a plugin is needed that offers publish, and this one does not; choose another network`},
	}
	for _, test := range tests {
		nw := lan()
		n, o := need(), Offer{Hypervisor: micro(), Network: &nw, Others: []sdk.Info{micro(), full(), lan()}}
		test.change(&n, &o)
		got, err := Match(n, o)
		if err == nil || !errors.Is(err, test.reason) || err.Error() != test.want || !reflect.DeepEqual(got, Choice{}) {
			t.Errorf("%s\ngot  %v\nwant %s", test.name, err, test.want)
		}
	}
}

func TestLimitThatIsNotSaidIsNone(t *testing.T) {
	n := need()
	n.CPUs, n.NICs, n.Options, n.Families, n.MemoryBytes = 1000, 0, nil, nil, 1
	n.Disks = slices.Repeat([]string{hypervisor.DiskFile}, 100)
	hv := full()
	hv.Capabilities[hypervisor.CapabilityMaxCPUs] = []string{"many"}
	if _, err := Match(n, Offer{Hypervisor: hv}); err != nil {
		t.Error(err)
	}
}
