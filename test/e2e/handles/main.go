//go:build linux

// Command handles tries to leave a mounted directory by file handles: by those of numbers that nobody has given it, and by the parents of what they open. It prints the
// names that it found, each once, in one line.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// handleType is that of FUSE: 64 bits of a node's number, 32 of its generation.
const handleType = 0x81

func main() {
	dir := os.Args[1]
	mount, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "handles:", err)
		os.Exit(1)
	}
	own, _, err := unix.NameToHandleAt(mount, "", unix.AT_EMPTY_PATH)
	if err != nil {
		fmt.Fprintln(os.Stderr, "handles: the directory has none:", err)
		os.Exit(1)
	}
	fmt.Printf("type=%#x\n", own.Type())
	var names []string
	opened := 0
	for node := uint64(0); node < 256; node++ {
		var handle [12]byte
		binary.LittleEndian.PutUint32(handle[0:], uint32(node>>32))
		binary.LittleEndian.PutUint32(handle[4:], uint32(node))
		fd, err := unix.OpenByHandleAt(mount, unix.NewFileHandle(handleType, handle[:]), unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		opened++
		for range 8 { // up, as far as it goes, but not to where the directory is mounted
			names = append(names, list(fd)...)
			up, err := unix.Openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil || device(up) != device(mount) {
				break
			}
			fd = up
		}
	}
	slices.Sort(names)
	fmt.Printf("opened=%t\nnames=%s\n", opened > 0, strings.Join(slices.Compact(names), " "))
}

func device(fd int) uint64 {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0
	}
	return stat.Dev
}

func list(fd int) []string {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil
	}
	dir := os.NewFile(uintptr(again), "directory")
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1) // what cannot be read is not found
	return names
}
