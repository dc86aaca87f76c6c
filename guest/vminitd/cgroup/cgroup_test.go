package cgroup

import (
	"fmt"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func rate(major, minor int64, rate uint64) []specs.LinuxThrottleDevice {
	d := specs.LinuxThrottleDevice{Rate: rate}
	d.Major, d.Minor = major, minor
	return []specs.LinuxThrottleDevice{d}
}

func number[T any](n T) *T { return &n }

func TestLimits(t *testing.T) {
	tests := []struct {
		name string
		in   specs.LinuxResources
		want string
	}{
		{"none", specs.LinuxResources{}, "[]"},
		{"cpu", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: number(int64(50000)), Period: number(uint64(100000)), Shares: number(uint64(1024)), Cpus: "0"}},
			"[{cpu.weight 39} {cpu.max 50000 100000} {cpuset.cpus 0}]"},
		{"no quota", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: number(int64(-1))}}, "[{cpu.max max 100000}]"},
		{"memory and swap are counted together", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: number(int64(100)), Swap: number(int64(150)), Reservation: number(int64(50))}},
			"[{memory.max 100} {memory.low 50} {memory.swap.max 50}]"},
		{"unlimited", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: number(int64(-1)), Swap: number(int64(-1))}}, "[{memory.max max} {memory.swap.max max}]"},
		{"pids", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: number(int64(7))}}, "[{pids.max 7}]"},
		{"unified", specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, "[{memory.high 1}]"},
		{"a unified name that leaves the cgroup", specs.LinuxResources{Unified: map[string]string{"../memory.high": "1"}}, "error"},
		{"the cgroup's own files", specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "1"}}, "error"},
		{"swap below memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: number(int64(100)), Swap: number(int64(50))}}, "error"},
		{"rates of disks", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{
			ThrottleReadBpsDevice: rate(254, 0, 1<<20), ThrottleWriteBpsDevice: rate(254, 0, 0), ThrottleReadIOPSDevice: rate(254, 16, 7), ThrottleWriteIOPSDevice: rate(254, 16, 1<<40)}},
			"[{io.max 254:0 rbps=1048576} {io.max 254:0 wbps=max} {io.max 254:16 riops=7} {io.max 254:16 wiops=4294967295}]"},
		{"a disk that cannot be", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: rate(-1, 0, 1)}}, "error"},
		{"weights of disks are not done", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: number(uint16(500))}}, "error"},
		{"nor those of one disk", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{}}}}, "error"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			settings, err := limits(&test.in)
			got := fmt.Sprint(settings)
			if err != nil {
				got = "error"
			}
			if got != test.want {
				t.Errorf("%s (%v), want %s", got, err, test.want)
			}
		})
	}
}

func TestContainersLeaveMemoryToVminitd(t *testing.T) {
	for machine, want := range map[uint64]uint64{1 << 30: 1<<30 - 40<<20, 72 << 20: 54 << 20} {
		if got := forContainers(machine); got != want {
			t.Errorf("of %d bytes containers may have %d, want %d", machine, got, want)
		}
	}
}

// run interprets a device program; it knows the instructions that program makes.
func run(t *testing.T, code []instruction, kind, access, major, minor uint32) bool {
	t.Helper()
	var r [6]uint64
	context := [3]uint32{access<<16 | kind, major, minor}
	for pc := 0; pc < len(code); pc++ {
		in := code[pc]
		to, from := in.registers&15, in.registers>>4
		switch in.code {
		case load32:
			r[to] = uint64(context[in.offset/4])
		case move32:
			r[to] = r[from]
		case set64:
			r[to] = uint64(in.immediate)
		case and32:
			r[to] &= uint64(uint32(in.immediate))
		case shift32:
			r[to] >>= uint64(in.immediate)
		case notEqual, equal, different:
			if in.code == notEqual && r[to] != uint64(in.immediate) || in.code == equal && r[to] == uint64(in.immediate) || in.code == different && r[to] != r[from] {
				pc += int(in.offset)
			}
		case exit:
			return r[0] != 0
		}
	}
	t.Fatal("the program runs over its end")
	return false
}

func TestDevices(t *testing.T) {
	fuse := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: number(int64(10)), Minor: number(int64(229)), Access: "rw"}
	rules, err := deviceRules(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}, fuse,
		{Allow: false, Type: "c", Major: number(int64(1)), Minor: number(int64(8)), Access: "w"}}})
	if err != nil {
		t.Fatal(err)
	}
	code := program(rules)
	for _, test := range []struct {
		name                       string
		kind, access, major, minor uint32
		want                       bool
	}{
		{"null", deviceChar, accessRead | accessWrite, 1, 3, true},
		{"any terminal of devpts", deviceChar, accessRead, 136, 77, true},
		{"making any node", deviceBlock, accessMknod, 254, 0, true},
		{"reading a disk", deviceBlock, accessRead, 254, 0, false},
		{"making and reading a disk", deviceBlock, accessMknod | accessRead, 254, 0, false},
		{"a serial port", deviceChar, accessRead | accessWrite, 250, 1, false},
		{"memory", deviceChar, accessRead, 1, 1, false},
		{"a block device with null's number", deviceBlock, accessRead, 1, 3, false},
		{"what the spec allows", deviceChar, accessRead | accessWrite, 10, 229, true},
		{"what the spec denies", deviceChar, accessRead | accessWrite, 1, 8, false},
		{"not more than it denies", deviceChar, accessRead, 1, 8, true},
	} {
		if got := run(t, code, test.kind, test.access, test.major, test.minor); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestARuleForEveryDeviceLeavesNoCodeThatNothingLeadsTo(t *testing.T) {
	rules, err := deviceRules(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Type: "a", Access: "rwm"}}})
	if err != nil {
		t.Fatal(err)
	}
	code := program(rules)
	if last := code[len(code)-1]; len(code) != 8 || last.code != exit {
		t.Errorf("%d instructions: %v", len(code), code)
	}
	if !run(t, code, deviceBlock, accessRead, 254, 0) {
		t.Error("a disk is denied")
	}
}
