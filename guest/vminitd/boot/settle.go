package boot

import (
	"runtime"
	"sync"
)

// spareThreads is how many threads the runtime is to have beyond those that it needs at boot, for system calls that take long.
const spareThreads = 3

// turns is how often the others get theirs in Settle. Those that are about to end need two or three.
const turns = 50

// Settle does what the runtime would do a little later, and what every clone of the machine would have to do by itself then: it makes threads, and lets goroutines that
// are about to end do so.
func Settle() {
	var holding, ended sync.WaitGroup
	release := make(chan struct{})
	holding.Add(spareThreads)
	for range spareThreads {
		ended.Go(func() {
			runtime.LockOSThread() // while it waits another thread has to run the others
			defer runtime.UnlockOSThread()
			holding.Done()
			<-release
		})
	}
	holding.Wait()
	close(release)
	ended.Wait()
	for range turns {
		runtime.Gosched()
	}
}
