package engine

import "testing"

func TestAVMHasMoreMemoryThanItsContainer(t *testing.T) {
	const mib = 1 << 20
	for container, vm := range map[uint64]uint64{32: 96, 512: 576, 1024: 1088, 2048: 2048 + 64 + 32, 8192: 8192 + 64 + 224} {
		if got := vmMemory(container * mib); got != vm*mib {
			t.Errorf("for %d MiB it has %d", container, got/mib)
		}
	}
	for container := uint64(MinMemoryBytes); container < 1<<40; container += container / 7 {
		vm := vmMemory(container)
		if most := containerMemory(vm); most < container || vmMemory(most) > vm {
			t.Fatalf("a VM of %d bytes, for a container of %d, is large enough for %d", vm, container, most)
		}
	}
	if most := containerMemory(1); most != 0 {
		t.Errorf("in a VM without memory a container may have %d bytes", most)
	}
}
