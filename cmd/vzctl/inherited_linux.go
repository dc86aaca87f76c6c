package main

import (
	"math"

	"golang.org/x/sys/unix"
)

// keepInherited keeps descriptors that our caller left open, a lock or the end of a pipe perhaps, from the processes we start: a detached container
// would hold them for days.
func keepInherited() {
	const firstAfterStdio = 3
	_ = unix.CloseRange(firstAfterStdio, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) // kernels before 5.11 cannot
}
