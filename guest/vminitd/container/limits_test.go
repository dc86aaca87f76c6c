package container

import (
	"bytes"
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/vminitd/helper"
)

func TestAFurtherProcessHasTheLimitsOfTheFirst(t *testing.T) {
	score, other := 7, 9
	first := &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}}, Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}},
		OOMScoreAdj: &score, NoNewPrivileges: true, User: specs.User{AdditionalGids: []uint32{5}}}
	p := &specs.Process{}
	inherit(p, first)
	if !reflect.DeepEqual(p, first) {
		t.Errorf("%+v, want %+v", p, first)
	}
	own := &specs.Process{Capabilities: &specs.LinuxCapabilities{}, OOMScoreAdj: &other}
	inherit(own, first)
	if len(own.Capabilities.Bounding) > 0 || *own.OOMScoreAdj != 9 || !own.NoNewPrivileges {
		t.Errorf("what it brings is not kept: %+v", own)
	}
}

func TestEveryContainerHasTheFilterThatNoSpecLifts(t *testing.T) {
	always := helper.Filter{Program: []byte("8 bytes.")}
	r := &Runtime{always: always}
	ready := &helper.Filter{Program: make([]byte, 16)}
	spec := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for _, test := range []struct {
		name  string
		spec  *specs.LinuxSeccomp
		ready *helper.Filter
		count int // 0: an error
	}{
		{"alone", nil, nil, 1},
		{"in one with the spec's", spec, nil, 1},
		{"in one with the host's", nil, ready, 1},
		{"beside one that cannot answer for both", &specs.LinuxSeccomp{DefaultAction: specs.ActLog}, nil, 2},
		{"not with both, of which one would be passed over", spec, ready, 0},
		{"not with what is no program", nil, &helper.Filter{Program: make([]byte, 7)}, 0},
		{"not with an empty one", nil, &helper.Filter{}, 0},
		{"not with a spec that cannot be enforced", &specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			filters, err := r.filters(test.spec, test.ready)
			if len(filters) != test.count || (err == nil) != (test.count > 0) {
				t.Fatalf("%d filters, %v", len(filters), err)
			}
			if err == nil && !bytes.HasSuffix(filters[0].Program, always.Program) {
				t.Error("it is not in the first")
			}
		})
	}
}

func TestOnlyARuleForEveryDeviceIsOne(t *testing.T) {
	one := int64(1)
	for _, test := range []struct {
		rule specs.LinuxDeviceCgroup
		want bool
	}{
		{specs.LinuxDeviceCgroup{Allow: true, Type: "a", Access: "rwm"}, true},
		{specs.LinuxDeviceCgroup{Allow: false, Type: "a", Access: "rwm"}, false},
		{specs.LinuxDeviceCgroup{Allow: true, Type: "c", Access: "rwm"}, false},
		{specs.LinuxDeviceCgroup{Allow: true, Type: "a", Access: "rm"}, false},
		{specs.LinuxDeviceCgroup{Allow: true, Type: "a", Access: "rwm", Major: &one}, false},
	} {
		if got := allowsAll(test.rule); got != test.want {
			t.Errorf("%+v: %v", test.rule, got)
		}
	}
}
