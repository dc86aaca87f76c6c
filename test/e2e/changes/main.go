//go:build linux

// Command changes tells of the first change in a directory, by inotify.
package main

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err == nil {
		_, err = unix.InotifyAddWatch(fd, os.Args[1], unix.IN_CREATE|unix.IN_MODIFY)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "changes:", err)
		os.Exit(1)
	}
	fmt.Println("watching")
	event := make([]byte, 4096)
	n, err := unix.Read(fd, event)
	if err != nil || n <= unix.SizeofInotifyEvent {
		fmt.Fprintln(os.Stderr, "changes:", n, err)
		os.Exit(1)
	}
	fmt.Printf("%s\n", bytes.TrimRight(event[unix.SizeofInotifyEvent:n], "\x00"))
}
