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

// archive returns an initial RAM disk in the "newc" format (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
// Written here because making the device node on disk would need root.
func archive(init []byte) []byte {
	var b bytes.Buffer
	member(&b, 1, "dev", modeDir, 0, 0, nil)
	member(&b, 2, "dev/console", modeCharDevice, 5, 1, nil)
	member(&b, 3, "init", modeExecutable, 0, 0, init)
	member(&b, 0, "TRAILER!!!", 0, 0, 0, nil)
	return b.Bytes()
}

func member(b *bytes.Buffer, inode int, name string, mode, major, minor int, data []byte) {
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
