package helper

import (
	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// prCapbsetKeep keeps only the capabilities of two masks of 32 in the bounding set: kernel/patches/0004, which other kernels do not have. PR_CAPBSET_DROP takes a system call, and new credentials, for each that is not in the set.
const prCapbsetKeep = 0x767a6362

// every is all capabilities that there can be.
const every = ^uint64(0)

// boundAtOnce takes from this thread all capabilities that are not in a set, for good. If it returns an error nothing has changed, and they are to be dropped one by one.
func boundAtOnce(set uint64) error {
	return unix.Prctl(prCapbsetKeep, uintptr(uint32(set)), uintptr(set>>32), 0, 0)
}

// boundThread takes from this thread what is not in the bounding set of caps.
func boundThread(caps capability.Capabilities) error {
	last, err := capability.LastCap()
	if err != nil {
		return err
	}
	var set uint64
	for c := range last + 1 {
		if caps.Get(capability.BOUNDING, c) {
			set |= 1 << c
		}
	}
	if boundAtOnce(set) == nil {
		return nil
	}
	return caps.Apply(capability.BOUNDS)
}

// bound has the process lose all capabilities up to the last that are not in a set, for good.
func (f *Further) bound(set uint64, last uintptr) {
	if boundAtOnce(every) == nil { // which changes nothing
		f.Call("drop capabilities", unix.SYS_PRCTL, prCapbsetKeep, uintptr(uint32(set)), uintptr(set>>32), 0, 0)
		return
	}
	for number := range last + 1 {
		if set&(1<<number) == 0 {
			f.Call("drop a capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, number, 0, 0, 0)
		}
	}
}
