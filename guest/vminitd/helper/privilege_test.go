package helper

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestTheHelperHasMemoryUnderItsLimits sets, in a process of its own, limits of memory that this program is beyond already: what it still has to do needs memory, too.
func TestTheHelperHasMemoryUnderItsLimits(t *testing.T) {
	const word = "VZCTL_TEST_LIMITS"
	if os.Getenv(word) == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), word+"=1", "GODEBUG=memprofilerate=0") // as in vminitd, where nobody reads the profile
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, strings.SplitN(string(out), "\n\n", 2)[0])
		}
		return
	}
	var kept [][]byte
	for range 3 << 20 >> 13 {
		kept = append(kept[:0], make([]byte, 8<<10))
	}
	if err := setRlimits([]specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 256, Hard: 256}, {Type: "RLIMIT_DATA", Soft: 1 << 20, Hard: 1 << 20}, {Type: "RLIMIT_AS", Soft: 1 << 20, Hard: 1 << 20}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		kept = append(kept, make([]byte, 512<<10))
	}
	runtime.KeepAlive(kept)
	os.Exit(0) // to end in order takes more
}
