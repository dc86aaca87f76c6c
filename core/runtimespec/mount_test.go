package runtimespec

import (
	"strings"
	"testing"
)

func TestMountsAreMadeFromTheOutside(t *testing.T) {
	spec, err := Build(Input{ContainerID: "c", Args: []string{"true"}, Isolation: Isolation{Tmpfs: []string{"/data/a/tmp"}}, Mounts: []Mount{
		{Source: "sources/share1", Destination: "/data/a/tmp/deep", ReadOnly: true}, {Source: "sources/volume0", Destination: "/data"}, {Source: "sources/share0", Destination: "/dev/shm"}}})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range spec.Mounts {
		if m.Type == "bind" || m.Destination == "/data/a/tmp" || m.Destination == "/dev" {
			order = append(order, m.Destination+"="+m.Source+":"+m.Options[len(m.Options)-1])
		}
		if m.Destination == "/dev/shm" && m.Type != "bind" {
			t.Errorf("the usual one is there as well: %+v", m)
		}
	}
	want := "/dev=tmpfs:size=65536k /data=sources/volume0:rw /dev/shm=sources/share0:rw /data/a/tmp=tmpfs:mode=1777 /data/a/tmp/deep=sources/share1:ro"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("mounts are\n%s, want\n%s", got, want)
	}
}

func TestTwoMountsAtOnePlaceAreRefused(t *testing.T) {
	_, err := Build(Input{ContainerID: "c", Args: []string{"true"}, Isolation: Isolation{Tmpfs: []string{"/data"}}, Mounts: []Mount{{Source: "sources/share0", Destination: "/data"}}})
	if err == nil || !strings.Contains(err.Error(), "/data") {
		t.Error(err)
	}
	for _, destination := range []string{"/", "/..", "relative", "", "/a\x00b"} {
		if _, err := CheckDestination(destination); err == nil {
			t.Errorf("%q is a place", destination)
		}
	}
}
