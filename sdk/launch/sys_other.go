//go:build !linux

package launch

import "syscall"

// sysProcAttr: a process group, so that nothing of a plugin survives it. Only the lifeline tells it that we are gone.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitExit does nothing: the group of a plugin that has ended is killed after its leader was reaped, when its id could be another's in theory.
func awaitExit(int) {}
