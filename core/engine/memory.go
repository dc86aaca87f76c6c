package engine

// A VM has more memory than its container may use: that of the guest's kernel and vminitd, and of the kernel's tables, which are as large as the memory is. They take a sixty-fourth of it
// and more; what they take of the first GiB is in the overhead.
const (
	vmOverheadBytes = 64 << 20
	vmTables        = 32 // a part of what is beyond plainBytes
	plainBytes      = 1 << 30
)

// vmMemory is the memory of a VM for a container that may use so much.
func vmMemory(container uint64) uint64 {
	return container + vmOverheadBytes + (max(container, plainBytes)-plainBytes)/vmTables
}

// containerMemory is what a container may use of a VM's memory, at most.
func containerMemory(vm uint64) uint64 {
	most := vm - min(vm, vmOverheadBytes)
	if most <= plainBytes {
		return most
	}
	most = plainBytes + (most-plainBytes)*vmTables/(vmTables+1)
	for vmMemory(most+1) <= vm { // once, as divisions round down
		most++
	}
	return most
}
