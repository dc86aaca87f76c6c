package command

import (
	"context"
	"os"
	"sync"
	"syscall"
)

// patience is how many signals it takes to end what does not end.
const patience = 3

// interrupt decides what a signal means: the end of vzctl's own work, or, while a container is in the foreground, something for the container.
type interrupt struct {
	done, ended chan struct{}

	mu      sync.Mutex
	count   int
	forward func(s os.Signal, count int)
}

// watch begins. cancel is called with the first signal; insist with the third, if the work still goes on.
func watch(signals <-chan os.Signal, cancel context.CancelCauseFunc, insist func(os.Signal)) *interrupt {
	i := &interrupt{done: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(i.ended)
		for {
			select {
			case <-i.done:
				return
			case s := <-signals:
				forward, count := i.next(s)
				switch {
				case forward != nil:
					forward(s, count)
				case count < patience:
					cancel(signalled{number(s)})
				default:
					insist(s)
				}
			}
		}
	}()
	return i
}

func (i *interrupt) next(s os.Signal) (forward func(os.Signal, int), count int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s != syscall.SIGUSR1 && s != syscall.SIGUSR2 {
		i.count++
	}
	return i.forward, i.count
}

// to sends signals to f, which must not block, until the returned function is called. count is of those that ask to end.
func (i *interrupt) to(f func(s os.Signal, count int)) (restore func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	before, count := i.forward, i.count
	i.forward, i.count = f, 0
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.forward, i.count = before, count
	}
}

func (i *interrupt) close() {
	close(i.done)
	<-i.ended
}

// insist ends the program in the middle of its cleaning up.
func (p *program) insist(s os.Signal) {
	p.say("interrupted while cleaning up; \"vzctl ls -a\" shows what may be left")
	p.Exit(codeSignal + int(number(s)))
}
