package runtimespec

import (
	"encoding/json"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestChangedLimits(t *testing.T) {
	tests := []struct {
		name           string
		now            string
		limits         Limits
		whole, changed string // or the error, in changed
	}{
		{"none", `{"pids":{"limit":5}}`, Limits{}, `{"pids":{"limit":5}}`, `{}`},
		{"CPUs keep what else is said of them", `{"cpu":{"shares":7,"quota":1,"period":2}}`, Limits{CPUs: 2},
			`{"cpu":{"shares":7,"quota":200000,"period":100000}}`, `{"cpu":{"quota":200000,"period":100000}}`},
		{"half a CPU", `{}`, Limits{CPUs: 1, CPUThousandths: 500}, `{"cpu":{"quota":50000,"period":100000}}`, `{"cpu":{"quota":50000,"period":100000}}`},
		{"which CPUs, and their weight", `{}`, Limits{CPUSet: "0-1", CPUShares: 512}, `{"cpu":{"shares":512,"cpus":"0-1"}}`, `{"cpu":{"shares":512,"cpus":"0-1"}}`},
		{"memory is put into force with the swap that was there", `{"memory":{"limit":100,"swap":300}}`, Limits{MemoryBytes: 200},
			`{"memory":{"limit":200,"swap":300}}`, `{"memory":{"limit":200,"swap":300}}`},
		{"memory above memory and swap", `{"memory":{"limit":100,"swap":300}}`, Limits{MemoryBytes: 400}, "", "give --memory-swap, too"},
		{"both", `{"memory":{"limit":100,"swap":300}}`, Limits{MemoryBytes: 400, MemorySwap: -1}, `{"memory":{"limit":400,"swap":-1}}`, `{"memory":{"limit":400,"swap":-1}}`},
		{"swap where no memory is limited", `{}`, Limits{MemorySwap: 5}, "", "less than the memory"},
		{"processes", `{"pids":{"limit":5}}`, Limits{PidsLimit: -1}, `{"pids":{"limit":-1}}`, `{"pids":{"limit":-1}}`},
		{"shares that are none", `{}`, Limits{CPUShares: 1}, "", "from 2 to 262144"},
		{"devices stay as they are, and are not part of it", `{"devices":[{"allow":true}]}`, Limits{PidsLimit: 3}, `{"devices":[{"allow":true}],"pids":{"limit":3}}`, `{"pids":{"limit":3}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var now specs.LinuxResources
			if err := json.Unmarshal([]byte(test.now), &now); err != nil {
				t.Fatal(err)
			}
			whole, changed, err := test.limits.Change(&now)
			if err != nil {
				if test.whole != "" || !strings.Contains(err.Error(), test.changed) {
					t.Errorf("error %v", err)
				}
				return
			}
			for got, want := range map[*specs.LinuxResources]string{whole: test.whole, changed: test.changed, &now: test.now} {
				if text, err := json.Marshal(got); err != nil || string(text) != want {
					t.Errorf("%s, %v; want %s", text, err, want)
				}
			}
		})
	}
}

func TestSetsOfCPUs(t *testing.T) {
	for set, want := range map[string]string{
		"0": "", "0,1": "", "0-3": "", "2-2,0": "",
		"": "not a list", "a": "not a list", "1-": "not a list", "2-1": "not a list", "-1": "not a list", "+1": "not a list", "0,,1": "not a list", "0\n": "not a list",
		"4": "the VM has 4", "0-4": "the VM has 4",
	} {
		err := CheckCPUSet(set, 4)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", set, err)
		}
	}
}
