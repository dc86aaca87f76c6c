package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
)

// checkMemory refuses more memory than the host has, where Linux would refuse it to QEMU as well: but only after the kernel of a template has spent
// seconds, with a terabyte a minute, on tables of it. proc is where Linux tells; a host that does not is not asked.
func checkMemory(proc string, wanted uint64) error {
	overcommit, err := os.ReadFile(filepath.Join(proc, "sys/vm/overcommit_memory"))
	if errors.Is(err, os.ErrNotExist) || strings.TrimSpace(string(overcommit)) == "1" { // 1: Linux promises any amount, as its owner has told it
		return nil
	}
	text, readErr := os.ReadFile(filepath.Join(proc, "meminfo"))
	if err := errors.Join(err, readErr); err != nil {
		return &fault.Error{Reason: fault.Internal, Op: "look at the host's memory", Cause: err}
	}
	var has uint64
	for line := range strings.Lines(string(text)) {
		var name string
		var kB uint64
		if n, _ := fmt.Sscan(line, &name, &kB); n == 2 && (name == "MemTotal:" || name == "SwapTotal:") {
			has += kB << 10
		}
	}
	if has == 0 || wanted <= has {
		return nil
	}
	return &fault.Error{Reason: fault.FailedPrecondition, Op: "check the VM",
		Cause: fmt.Errorf("%d MiB of memory are more than this host has, %d MiB with its swap", wanted>>20, has>>20),
		Hint:  "ask for less, or have Linux promise more than there is: sysctl vm.overcommit_memory=1"}
}
