//go:build linux

// Command stuck has itself or its machine stick: "stuck circles", or "stuck splice FILE".
package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func main() {
	err := fmt.Errorf("there is no such way")
	switch {
	case len(os.Args) == 2 && os.Args[1] == "circles":
		err = circles()
	case len(os.Args) == 3 && os.Args[1] == "splice":
		err = splice(os.Args[2])
	}
	fmt.Fprintln(os.Stderr, "stuck:", err)
	os.Exit(1)
}

// circles takes all processors of the machine for itself, for ever: nothing else runs there any more, vminitd least of all, as nothing may interrupt it but the kernel.
// It needs a privileged container.
func circles() error {
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
			for n := 0; ; n++ { // that is what it is for
			}
		}()
	}
	return <-failed
}

// splice begins to write to a file what nobody sends: who freezes the file system waits for it.
func splice(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], 0); err != nil {
		return err
	}
	fmt.Println("it begins")
	_, err = unix.Splice(ends[0], nil, int(file.Fd()), nil, 1<<16, 0)
	return err
}
