package launch

import (
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A thread that has gone into a container's namespaces must not stay, and the first one always does.
func TestWhatIsDoneAsideIsNeverDoneOnTheFirstThread(t *testing.T) {
	var all sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for range 50 {
				done := false
				aside(func() { done = unix.Gettid() != unix.Getpid() })
				if !done {
					t.Error("it was not done, or on the first thread")
				}
			}
		})
	}
	all.Wait()
}
