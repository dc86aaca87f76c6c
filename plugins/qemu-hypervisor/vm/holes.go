package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// When a guest gives memory back, QEMU punches a hole into the file that the memory was mapped from, even if the mapping is private: into the template of all clones. What
// QEMU does after that, forgetting its own copy of the page, is what frees the memory. When a guest discards blocks of a disk, QEMU punches a hole into the
// disk's file, by the same call with the same flags. So a clone's QEMU runs under a filter that tells the two by their descriptors: it lets holes be punched into its writable
// disks, and answers all other such calls as if it had been done.
//
// A filter has to be there before QEMU is, and the numbers are QEMU's. They are the same for all QEMUs of one shape, so those of the template's are noted when it is made. That a clone's are
// the same is checked before its guest runs; if they are not, no holes are punched at all, which a guest does not notice: a discard is a hint.

// errDescriptors says that a clone's QEMU has its disks by other descriptors than it had in the template.
var errDescriptors = errors.New("QEMU has its disks by other descriptors than that of the template")

// holes are the files that a process may punch them into.
type holes struct {
	limited     bool
	descriptors []int // if that is limited
}

func (b birth) holes() holes {
	return holes{limited: b.memory != nil && !b.shared, descriptors: b.disks}
}

// writable returns the files of a spec's writable disks.
func writable(spec hypervisor.Spec) (files []os.FileInfo, err error) {
	for _, disk := range spec.Disks {
		if disk.ReadOnly {
			continue
		}
		info, err := os.Stat(disk.File.Path)
		if err != nil {
			return nil, err
		}
		files = append(files, info)
	}
	return files, nil
}

// diskDescriptors returns the descriptors by which a process has the writable disks of a spec.
func diskDescriptors(pid int, spec hypervisor.Spec) (descriptors []int, err error) {
	disks, err := writable(spec)
	if err != nil {
		return nil, err
	}
	dir := descriptorsOf(pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		number, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && among(info, disks) { // one may be closed meanwhile
			descriptors = append(descriptors, number)
		}
	}
	return descriptors, nil
}

// checkDescriptors makes sure that all these descriptors of a process are writable disks of the spec, and so none is its memory.
func checkDescriptors(pid int, descriptors []int, spec hypervisor.Spec) error {
	disks, err := writable(spec)
	if err != nil {
		return err
	}
	for _, number := range descriptors {
		info, err := os.Stat(filepath.Join(descriptorsOf(pid), strconv.Itoa(number)))
		if err != nil || !among(info, disks) {
			return fmt.Errorf("%w: %d is none of them", errDescriptors, number)
		}
	}
	return nil
}

func among(file os.FileInfo, files []os.FileInfo) bool {
	for _, other := range files {
		if os.SameFile(file, other) {
			return true
		}
	}
	return false
}

func descriptorsOf(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), "fd") }
