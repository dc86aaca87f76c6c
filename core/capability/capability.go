// Package capability decides whether plugins can do what a container needs, before anything is started. It is one pure function, [Match]; it
// asks nobody. Nothing that is needed is dropped: it is offered, or the container is refused with what to change.
package capability

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

// Need is what a container needs of the VM and the network.
type Need struct {
	Arch        string // of the guest, as OCI writes it
	CPUs        uint32
	MemoryBytes uint64
	Disks       []string // the kind of each: hypervisor.DiskFile, ...
	Shares      []string // the type of each: hypervisor.ShareVirtioFS, ...
	Ownerships  []string // of shares, other than hypervisor.OwnershipHost
	NICs        int
	Features    []string // of the hypervisor: hypervisor.FeaturePause, ...
	Options     []string // names of options for the hypervisor

	KernelFormat string // of the kernel there is; empty: one can be chosen

	NetworkFeatures []string // network.FeaturePublish, ...
	Families        []string // "ipv4", "ipv6"
}

// Offer is who shall serve, and who else could.
type Offer struct {
	Hypervisor sdk.Info
	Network    *sdk.Info // nil: none, the container has no NIC
	// Others are named in a refusal if they can what is missing. Asking all plugins takes time: match without them first, and again with them
	// to explain.
	Others []sdk.Info
}

// Choice is what both sides can do.
type Choice struct {
	Links         []string // types both the hypervisor and the network know, the network's favourite first; empty without NICs
	KernelFormats []string // the hypervisor boots, best first
}

// Match returns what to use, or a *fault.Error with reason Unsupported or, if no plugin could ever do it, Invalid.
func Match(need Need, offer Offer) (Choice, error) {
	m := matcher{offer: offer}
	hv := offer.Hypervisor
	if need.CPUs == 0 {
		return Choice{}, invalid("a VM needs at least one CPU", "give --cpus 1 or more")
	}
	m.value(hv, hypervisor.CapabilityArch, need.Arch, "runs "+need.Arch+" guests", "choose an image of another platform with --platform")
	m.atMost(hv, hypervisor.CapabilityMaxCPUs, uint64(need.CPUs), "CPUs", "give fewer --cpus")
	m.atLeast(hv, hypervisor.CapabilityMinMemory, need.MemoryBytes)
	for _, kind := range need.Disks {
		m.value(hv, hypervisor.CapabilityDisk, kind, "takes disks of kind "+kind, "")
	}
	for _, kind := range need.Shares {
		if why := shareProblem(hv, kind); why != "" && !hv.Offers(hypervisor.CapabilityShare, kind) {
			m.refuse(hv, fmt.Sprintf("it cannot share directories by %s on this host: %s", kind, why), "", nil)
		}
		m.value(hv, hypervisor.CapabilityShare, kind, "shares directories by "+kind, "mount no host directories")
	}
	for _, ownership := range need.Ownerships {
		m.value(hv, hypervisor.CapabilityOwnership, ownership, "keeps owners of shared files "+ownership, "leave the ownership out")
	}
	devices := len(need.Disks) + len(need.Shares) + need.NICs
	m.atMost(hv, hypervisor.CapabilityMaxDevices, uint64(devices), "disks, shares and network cards", "mount fewer volumes")
	for _, feature := range need.Features {
		change := ""
		if feature == hypervisor.FeatureNestedVirt {
			change = "leave --nested out"
		}
		m.value(hv, hypervisor.CapabilityFeature, feature, "offers "+feature, change)
	}
	for _, option := range need.Options {
		m.value(hv, hypervisor.CapabilityOption, option, "knows the option "+option, "leave the option out")
	}
	choice := Choice{KernelFormats: hv.Capabilities[hypervisor.CapabilityKernel]}
	if need.KernelFormat != "" {
		m.value(hv, hypervisor.CapabilityKernel, need.KernelFormat, "boots kernels of format "+need.KernelFormat,
			"choose another kernel with --kernel")
	} else if len(choice.KernelFormats) == 0 {
		m.refuse(hv, "it says of no kernel format that it boots it", "", nil)
	}
	if need.NICs > 0 {
		choice.Links = m.network(need)
	}
	if m.err != nil {
		return Choice{}, m.err
	}
	return choice, nil
}

// shareProblem is why a plugin does not offer a type of shares on this host, and what would change that; "" if it does not say.
func shareProblem(plugin sdk.Info, kind string) string {
	for _, text := range plugin.Capabilities[hypervisor.CapabilityShareProblem] {
		if of, why, found := strings.Cut(text, ": "); found && of == kind {
			return why
		}
	}
	return ""
}

// network checks the network's side and returns the links both sides know.
func (m *matcher) network(need Need) []string {
	if m.offer.Network == nil {
		m.refuse(m.offer.Hypervisor, "a network card is needed and there is no network plugin", "give --network none", nil)
		return nil
	}
	nw := *m.offer.Network
	for _, family := range need.Families {
		m.value(nw, network.CapabilityFamily, family, "gives "+family+" addresses", "choose another network")
	}
	for _, feature := range need.NetworkFeatures {
		m.value(nw, network.CapabilityFeature, feature, "offers "+feature, "choose another network")
	}
	theirs := m.offer.Hypervisor.Capabilities[hypervisor.CapabilityLink]
	ours := nw.Capabilities[network.CapabilityLink]
	var links []string
	for _, link := range ours {
		if slices.Contains(theirs, link) {
			links = append(links, link)
		}
	}
	if len(links) == 0 {
		m.refuse(m.offer.Hypervisor, fmt.Sprintf("it takes links of type %s, network %q has %s", list(theirs), nw.Name, list(ours)),
			"choose another network, or --network none", func(other sdk.Info) bool {
				return slices.ContainsFunc(ours, func(link string) bool { return other.Offers(hypervisor.CapabilityLink, link) })
			})
	}
	return links
}

// matcher keeps the first refusal.
type matcher struct {
	offer Offer
	err   error
}

// value is needed under key of what a plugin offers; does says so in words.
func (m *matcher) value(plugin sdk.Info, key, value, does, change string) {
	if plugin.Offers(key, value) {
		return
	}
	cause := fmt.Sprintf("a plugin is needed that %s, and this one does not", does)
	if has := plugin.Capabilities[key]; len(has) > 0 {
		cause += fmt.Sprintf(" (%s: %s)", key, list(has))
	}
	m.refuse(plugin, cause, change, func(other sdk.Info) bool { return other.Offers(key, value) })
}

func (m *matcher) atMost(plugin sdk.Info, key string, need uint64, what, change string) {
	limit, set := number(plugin, key)
	if !set || need <= limit {
		return
	}
	m.refuse(plugin, fmt.Sprintf("%d %s are needed, it has at most %d", need, what, limit), change, func(other sdk.Info) bool {
		limit, set := number(other, key)
		return !set || need <= limit
	})
}

func (m *matcher) atLeast(plugin sdk.Info, key string, need uint64) {
	least, set := number(plugin, key)
	if !set || need >= least || m.err != nil {
		return
	}
	const mib = 1 << 20
	m.err = invalid(fmt.Sprintf("%d MiB of memory are too few for hypervisor %q, which needs %d MiB", need/mib, plugin.Name, (least+mib-1)/mib),
		fmt.Sprintf("give --memory %dM or more", (least+mib-1)/mib))
}

// refuse names the plugin, the cause, others that can, and what to change.
func (m *matcher) refuse(plugin sdk.Info, cause, change string, can func(sdk.Info) bool) {
	if m.err != nil {
		return
	}
	var hints []string
	for _, other := range m.offer.Others {
		if can != nil && other.Kind == plugin.Kind && other.Name != plugin.Name && can(other) {
			hints = append(hints, fmt.Sprintf("%q", other.Name))
		}
	}
	hint := ""
	if len(hints) > 0 {
		hint = fmt.Sprintf("use %s %s, which can", plugin.Kind, strings.Join(hints, " or "))
	}
	switch {
	case hint == "":
		hint = change
	case change != "":
		hint += ", or " + change
	}
	m.err = &fault.Error{Reason: fault.Unsupported, Op: fmt.Sprintf("use %s", plugin.Kind), Subject: plugin.Name, Cause: errors.New(cause), Hint: hint}
}

func invalid(cause, hint string) error {
	return &fault.Error{Reason: fault.Invalid, Op: "plan VM", Cause: errors.New(cause), Hint: hint}
}

// number a plugin offers under key. One that cannot be read is none: a limit nobody knows is left to the plugin itself.
func number(plugin sdk.Info, key string) (uint64, bool) {
	for _, v := range plugin.Capabilities[key] {
		if n, err := strconv.ParseUint(v, 10, 64); err == nil {
			return n, true
		}
	}
	return 0, false
}

func list(values []string) string {
	if len(values) == 0 {
		return "none"
	}
	return strings.Join(values, ", ")
}

// Features refuses a plugin that does not offer all of these features.
func Features(plugin sdk.Info, features ...string) error {
	m := matcher{}
	for _, feature := range features {
		m.value(plugin, hypervisor.CapabilityFeature, feature, "offers "+feature, "")
	}
	return m.err
}
