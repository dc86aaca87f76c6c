// Package keeper ends a QEMU with its plugin on systems whose kernel does not: Linux kills a child when its parent dies (see qemu_linux.go of package vm),
// macOS has nothing of the kind, and QEMU does not mind that its monitor is closed. There the plugin starts itself as a keeper, which starts QEMU and
// holds the reading end of a pipe as standard input. The plugin's death closes the pipe, whatever it died of; then the keeper kills QEMU.
//
// It is QEMU's parent and not a watcher beside it, so that no moment is left in which nobody watches, and no process id can have another owner.
package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// Argument is the plugin's first argument that makes it a keeper.
const Argument = "keep-qemu"

const firstDescriptor = 3

// Command returns what to start with `files` descriptors after standard error to run a command under a keeper. self is a program that calls Run.
func Command(self string, files int, command []string) []string {
	return append([]string{self, Argument, strconv.Itoa(files)}, command...)
}

// Run is what a keeper does with the arguments after Argument. It returns its exit code when the command has ended: the command's own, or 128 and its
// signal's number.
func Run(args []string) int {
	if len(args) < 2 {
		fmt.Fprintln(os.Stderr, "keeper: nothing to run")
		return 2
	}
	files, err := strconv.Atoi(args[0])
	if err != nil || files < 0 || files > 16 {
		fmt.Fprintf(os.Stderr, "keeper: bad number of descriptors %q\n", args[0])
		return 2
	}
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	for fd := range files {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(firstDescriptor+fd), "inherited"))
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 127
	}
	for _, file := range cmd.ExtraFiles { // they are the command's alone: its end has to be seen at the other ends
		_ = file.Close()
	}
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = cmd.Process.Kill() // fails only if it has ended
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}
