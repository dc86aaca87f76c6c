package runtimespec

import (
	"errors"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/sdk/fault"
)

func TestMapsOfIDsMakeAUserNamespace(t *testing.T) {
	whole := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	parts := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 200000, Size: 999}}
	for _, test := range []struct {
		name       string
		isolation  Isolation
		uids, gids []specs.LinuxIDMapping
	}{
		{"none", Isolation{}, nil, nil},
		{"of users, and so of groups", Isolation{UIDMap: []string{AutoIDMap}}, whole, whole},
		{"of groups, and so of users", Isolation{GIDMap: []string{AutoIDMap}}, whole, whole},
		{"of each its own", Isolation{UIDMap: []string{"0:1000:1", "1:200000:999"}, GIDMap: []string{AutoIDMap}}, parts, whole},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := build(t, test.isolation).Linux
			if !slices.Equal(l.UIDMappings, test.uids) || !slices.Equal(l.GIDMappings, test.gids) {
				t.Errorf("users %v, groups %v", l.UIDMappings, l.GIDMappings)
			}
			has := slices.Contains(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			if want := test.uids != nil; has != want || (l.Sysctl["net.ipv4.ip_unprivileged_port_start"] == "0") != want {
				t.Errorf("namespaces %v, kernel settings %v", l.Namespaces, l.Sysctl)
			}
		})
	}
	l := build(t, Isolation{UIDMap: []string{AutoIDMap}, Sysctls: map[string]string{"net/ipv4/ip_unprivileged_port_start": "81"}}).Linux
	if l.Sysctl["net.ipv4.ip_unprivileged_port_start"] != "81" || l.Sysctl["net.ipv4.ping_group_range"] != "100000 165535" {
		t.Errorf("what was asked for is not there: %v", l.Sysctl)
	}
}

func TestMapsThatCannotBeAreRefused(t *testing.T) {
	for _, test := range []struct {
		name      string
		isolation Isolation
		says      string
	}{
		{"two numbers", Isolation{UIDMap: []string{"0:100000"}}, "0:100000"},
		{"a word", Isolation{UIDMap: []string{"0:root:1"}}, "0:root:1"},
		{"a number below zero", Isolation{GIDMap: []string{"0:-1:1"}}, "0:-1:1"},
		{"a number of more than 32 bits", Isolation{UIDMap: []string{"0:0:4294967296"}}, "4294967296"},
		{"nothing", Isolation{UIDMap: []string{"0:0:0"}}, "no ids"},
		{"an overlap", Isolation{UIDMap: []string{"0:100000:10", "5:200000:10"}}, "in common"},
		{"no root", Isolation{UIDMap: []string{AutoIDMap}, GIDMap: []string{"1:100000:10"}}, "group"},
		{"everything and a part of it", Isolation{UIDMap: []string{AutoIDMap}, Privileged: true}, "privileged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Build(Input{ContainerID: "c", Args: []string{"sh"}, Isolation: test.isolation})
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v", err)
			}
		})
	}
}
