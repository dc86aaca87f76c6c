// Command filters is the first process of a machine. It installs system call filters as programs do, in many processes, and says "filters: ok", or what came of it.
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
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		if err := run(os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	err := errors.Join(os.MkdirAll("/proc", 0o755), unix.Mount("proc", "/proc", "proc", 0, ""), os.MkdirAll("/dev", 0o755), unix.Mount("dev", "/dev", "devtmpfs", 0, ""))
	console, consoleErr := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if consoleErr != nil {
		os.Exit(1) // of which the kernel tells
	}
	if err = errors.Join(err, all()); err == nil {
		err = errors.New("ok")
	}
	_, _ = fmt.Fprintf(console, "filters: %v\n", err)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func all() error { return errors.Join(alone(), beside(), crowd()) }

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("nothing to do")
	}
	runtime.LockOSThread()
	var numbers []int
	for _, arg := range args[1:] {
		number, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		numbers = append(numbers, number)
	}
	switch args[0] {
	case "hold": // until stdin ends
		if err := enter(numbers[0], 0); err != nil {
			return err
		}
		fmt.Println("held")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	case "each": // one after the other: the last one counts
		for i, number := range numbers {
			if err := enter(number, 0); err != nil {
				return err
			}
			if err := expect(number, i+1); err != nil {
				return fmt.Errorf("with %v: %w", numbers[:i+1], err)
			}
		}
		return nil
	case "forbidden":
		if err := install(numbers[0], 0); !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("who may get new privileges gets a filter: %v", err)
		}
		return expect(0, 0)
	case "threads":
		return threads(numbers[0], numbers[1])
	case "twins":
		return twins(numbers[0], numbers[1])
	case "logging": // such a filter is another than one that does not log
		return errors.Join(enter(numbers[0], unix.SECCOMP_FILTER_FLAG_LOG), expect(numbers[0], 1))
	}
	return errors.New("hold, each, forbidden, threads, twins or logging")
}

// alone is without another process.
func alone() error {
	return errors.Join(self("forbidden", "70"), self("each", "70"), self("each", "70", "70"), self("each", "70", "71", "72"), self("threads", "70", "71"), self("twins", "70", "71"), self("logging", "70"))
}

// beside is with one that has a filter.
func beside() error {
	holder := command("hold", "70")
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

// command is this program once more, without privileges.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	return cmd
}

func self(args ...string) error {
	out, err := command(args...).CombinedOutput()
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

// twins has two threads get the same filter, each by itself, and then one of them all threads another.
func twins(first, second int) error {
	steps, other := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread()
		<-steps
		other <- errors.Join(enter(first, 0), expect(first, 1))
		<-steps
		other <- expect(second, 2)
	}()
	steps <- struct{}{}
	if err := errors.Join(<-other, enter(first, 0), expect(first, 1)); err != nil {
		return err
	}
	err := errors.Join(install(second, unix.SECCOMP_FILTER_FLAG_TSYNC), expect(second, 2))
	steps <- struct{}{}
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
