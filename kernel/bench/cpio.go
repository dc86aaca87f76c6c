package main

import (
	"bytes"
	"fmt"
)

const (
	modeDir        = 0o040755
	modeExecutable = 0o100755
	modeCharDevice = 0o020600
)

// program is one executable file of an initial RAM disk. The directory of name must be "" or in directories.
type program struct {
	name string
	data []byte
}

// archive returns an initial RAM disk in the "newc" format (the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst): the directories, /dev/console, which the kernel opens for
// the first process, and the programs. Written here because making the device node on disk would need root.
func archive(directories []string, programs ...program) []byte {
	var b bytes.Buffer
	for _, name := range append([]string{"dev"}, directories...) {
		member(&b, name, modeDir, 0, 0, nil)
	}
	member(&b, "dev/console", modeCharDevice, 5, 1, nil)
	for _, p := range programs {
		member(&b, p.name, modeExecutable, 0, 0, p.data)
	}
	member(&b, "TRAILER!!!", 0, 0, 0, nil)
	return b.Bytes()
}

func member(b *bytes.Buffer, name string, mode, major, minor int, data []byte) {
	inode := b.Len() // any number that differs from member to member
	fmt.Fprintf(b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	pad(b)
	b.Write(data)
	pad(b)
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
