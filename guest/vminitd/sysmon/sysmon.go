// Package sysmon slows down a thread of Go's runtime. While any goroutine runs, that thread sleeps for 20 microseconds at a time. A timer is dear in an emulated machine: two writes to a device
// that QEMU does under its one lock, an interrupt, and two changes of threads, which together took a third of all that vminitd did.
package sysmon

import (
	"fmt"
	"os"
	"strconv"
)

// slack is by how much its sleeps may be longer: one tick of the kernel's, with CONFIG_HZ=100, so that no timer is set for them, and no process of a container is interrupted more often. So long a goroutine may
// wait for another one that is in a system call which blocks, if the machine has one CPU.
const slack = "10000000" // nanoseconds

// Slow has the thread of this process sleep longer. Threads that it makes later have the slack from it, and so would their children: who makes one for others to use gives it the kernel's again
// (vfork.Calm, vfork.Script). The machine's /proc is needed, and root.
func Slow() error {
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return err
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	thread := second(self, tasks)
	if thread == "" {
		return nil // and there never will be
	}
	if err := os.WriteFile("/proc/"+thread+"/timerslack_ns", []byte(slack), 0); err != nil {
		return fmt.Errorf("slow down Go's sysmon: %w", err)
	}
	return nil
}

// second returns the thread that the runtime has made first, right after the one that the kernel has made: numbers grow.
func second(first string, tasks []os.DirEntry) string {
	number := func(name string) int { n, _ := strconv.Atoi(name); return n } // the kernel's own
	found := ""
	for _, task := range tasks {
		name := task.Name()
		if number(name) > number(first) && (found == "" || number(name) < number(found)) {
			found = name
		}
	}
	return found
}
