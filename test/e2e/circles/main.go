//go:build linux

// Command circles takes all processors of its machine for itself, for ever: nothing else runs there any more, vminitd least of all, as nothing may interrupt it but the
// kernel. It needs a privileged container.
package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func main() {
	fmt.Fprintln(os.Stderr, "circles:", run())
	os.Exit(1)
}

func run() error {
	// Otherwise the kernel keeps a twentieth of the time for others.
	if err := os.WriteFile("/proc/sys/kernel/sched_rt_runtime_us", []byte("-1"), 0o600); err != nil {
		return err
	}
	failed := make(chan error)
	for range runtime.NumCPU() {
		go func() {
			runtime.LockOSThread()
			if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 99}, 0); err != nil {
				failed <- err
				return
			}
			for { // that is what it is for
			}
		}()
	}
	return <-failed
}
