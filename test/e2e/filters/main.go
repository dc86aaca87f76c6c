// Command filters installs system call filters as programs do, in many processes, and says "ok", or what came of it. It has to be started without a filter, and without CAP_SYS_ADMIN.
//
// A filter of it has the system call sched_yield(2) fail with an error number of the filter's own.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.Join(alone(), beside(), crowd())
	}
	runtime.LockOSThread()
	numbers := map[string]int{}
	for _, arg := range args[1:] {
		number, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		numbers[arg] = number
	}
	switch args[0] {
	case "hold": // until stdin ends
		if err := enter(numbers[args[1]], 0); err != nil {
			return err
		}
		fmt.Println("held")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	case "each": // one after the other: the last one counts
		for i, arg := range args[1:] {
			if err := enter(numbers[arg], 0); err != nil {
				return err
			}
			if err := expect(numbers[arg], i+1); err != nil {
				return fmt.Errorf("with %v: %w", args[1:i+2], err)
			}
		}
		return nil
	case "forbidden":
		if err := install(numbers[args[1]], 0); !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("who may get new privileges gets a filter: %v", err)
		}
		return expect(0, 0)
	case "threads":
		return threads(numbers[args[1]], numbers[args[2]])
	}
	return errors.New("hold, each, forbidden or threads")
}

// alone is without another process.
func alone() error {
	return errors.Join(self("forbidden", "70"), self("each", "70"), self("each", "70", "70"), self("each", "70", "71", "72"), self("threads", "70", "71"))
}

// beside is with one that has a filter.
func beside() error {
	holder := exec.Command("/proc/self/exe", "hold", "70")
	in, inErr := holder.StdinPipe()
	out, outErr := holder.StdoutPipe()
	if err := errors.Join(inErr, outErr, holder.Start()); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held\n" {
		return fmt.Errorf("the first one says %q, %w", line, err)
	}
	err = errors.Join(alone(), self("each", "71"), self("each", "71", "70"))
	return errors.Join(err, in.Close(), holder.Wait(), alone())
}

// crowd has many processes come and go that have the same filters, and others.
func crowd() error {
	const workers, rounds = 4, 40
	errs := make([]error, workers)
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for round := range rounds {
				number := 70 + (worker+round)%30
				if round%2 == 0 {
					number = 70 // whose filters come and go all the time
				}
				errs[worker] = errors.Join(errs[worker], self("each", strconv.Itoa(number)))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func self(args ...string) error {
	out, err := exec.Command("/proc/self/exe", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// threads has one thread get a filter, and then all of them another.
func threads(first, second int) error {
	ready, filtered, done := make(chan struct{}), make(chan error), make(chan struct{})
	other := make(chan error)
	go func() {
		runtime.LockOSThread()
		close(ready)
		before := <-filtered
		other <- errors.Join(before, expect(0, 0))
		<-done
		other <- expect(second, 2)
	}()
	<-ready
	filtered <- errors.Join(enter(first, 0), expect(first, 1))
	if err := <-other; err != nil {
		return fmt.Errorf("a thread beside: %w", err)
	}
	err := errors.Join(install(second, unix.SECCOMP_FILTER_FLAG_TSYNC), expect(second, 2))
	close(done)
	return errors.Join(err, <-other)
}

func enter(number int, flags uintptr) error {
	return errors.Join(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), install(number, flags))
}

func install(number int, flags uintptr) error {
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the system call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SCHED_YIELD, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(number)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	head := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&head))); errno != 0 {
		return fmt.Errorf("install a filter: %w", errno)
	}
	return nil
}

// expect looks at what filters this thread has, and what comes of them.
func expect(number, filters int) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", unix.Gettid()))
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("\nSeccomp_filters:\t%d\n", filters); !strings.Contains(string(status), want) {
		return fmt.Errorf("it has not %d filters:\n%s", filters, status)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0); int(errno) != number {
		return fmt.Errorf("the system call returns %d, want %d", int(errno), number)
	}
	return nil
}
