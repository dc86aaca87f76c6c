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

// archive returns the measured initial RAM disk in the "newc" format (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst):
// /init and /dev/console, nothing else. Written here because making the device node on disk would need root.
func archive(program []byte) []byte {
	var b bytes.Buffer
	member(&b, "dev", modeDir, 0, 0, nil)
	member(&b, "dev/console", modeCharDevice, 5, 1, nil)
	member(&b, "init", modeExecutable, 0, 0, program)
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
