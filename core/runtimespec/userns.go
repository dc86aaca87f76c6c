package runtimespec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/idmap"
)

// AutoIDMap is the map of who asks for a user namespace and not for one in particular: as many ids as programs count on, none of them the VM's own.
const AutoIDMap = "0:100000:65536"

// openNetwork are kernel settings of a network that a container is not root of, though it is the container's alone: as under Docker, ports below 1024 and echo requests are for everybody. Groups are
// the VM's.
func openNetwork(gids []specs.LinuxIDMapping) map[string]string {
	first, last := gids[0].HostID, uint32(0)
	for _, r := range gids {
		first, last = min(first, r.HostID), max(last, r.HostID+r.Size-1)
	}
	settings := map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}
	if first <= maxPingGroup {
		settings["net.ipv4.ping_group_range"] = fmt.Sprint(first, " ", min(last, maxPingGroup))
	}
	return settings
}

// maxPingGroup is the last that may send echo requests in Linux.
const maxPingGroup = 1<<31 - 1

// mapIDs puts the container into a user namespace, if it has maps.
func (i Isolation) mapIDs(spec *specs.Spec) (err error) {
	uidMap, gidMap := i.UIDMap, i.GIDMap
	switch {
	case len(uidMap)+len(gidMap) == 0:
		return nil
	case i.Privileged:
		return invalid("map ids", "privileged", "who is in a user namespace has not all that the VM has", "leave one of the two out, or grant capabilities with --cap-add")
	case len(uidMap) == 0:
		uidMap = gidMap
	case len(gidMap) == 0:
		gidMap = uidMap
	}
	l := spec.Linux
	if l.UIDMappings, err = idMappings(uidMap); err != nil {
		return err
	}
	if l.GIDMappings, err = idMappings(gidMap); err != nil {
		return err
	}
	maps, err := idmap.New(l.UIDMappings, l.GIDMappings)
	if err != nil {
		return invalid("map ids", strings.Join(slices.Concat(i.UIDMap, i.GIDMap), " "), err.Error())
	}
	const terminals = 5 // the group of Debian's, and of most others'
	if _, mapped := maps.GIDs.Outside(terminals); !mapped {
		for n := range spec.Mounts {
			if m := &spec.Mounts[n]; m.Type == "devpts" {
				m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(option string) bool { return option == fmt.Sprintf("gid=%d", terminals) })
			}
		}
	}
	l.Namespaces = append([]specs.LinuxNamespace{{Type: specs.UserNamespace}}, l.Namespaces...)
	if l.Sysctl == nil {
		l.Sysctl = map[string]string{}
	}
	for name, value := range openNetwork(l.GIDMappings) {
		if _, given := l.Sysctl[name]; !given {
			l.Sysctl[name] = value
		}
	}
	return nil
}

func idMappings(texts []string) (all []specs.LinuxIDMapping, err error) {
	for _, text := range texts {
		var numbers [3]uint32
		parts := strings.Split(text, ":")
		bad := len(parts) != len(numbers)
		for n := range numbers {
			if bad {
				break
			}
			number, err := strconv.ParseUint(parts[n], 10, 32)
			numbers[n], bad = uint32(number), err != nil
		}
		if bad {
			return nil, invalid("map ids", text, "it is not CONTAINER:VM:SIZE, three numbers below 2^32", "write it like "+AutoIDMap)
		}
		all = append(all, specs.LinuxIDMapping{ContainerID: numbers[0], HostID: numbers[1], Size: numbers[2]})
	}
	return all, nil
}
