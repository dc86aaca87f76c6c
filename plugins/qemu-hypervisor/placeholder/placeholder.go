// Package placeholder writes what is on the disks of a VM whose guest rehearses the life of a container (vzctl.rehearse=full, see docs/guest.md): file systems as
// a root's are, of the same builder, with a program of a few instructions (program.go). Nothing in them is a container's.
package placeholder

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/plugins/ext4-builder/sparse"
)

// label is the name of the file systems, by which a guest tells them from disks that are somebody's.
const label = "rehearsal"

// leastSize of a disk, in bytes.
const leastSize = 64 << 20

// Supported reports whether there are programs for guests of an architecture ("amd64").
func Supported(arch string) bool { return arch == "amd64" }

// Write writes to a file, of zeros, what a guest is to find there: an image if it is read-only, otherwise an empty writable layer. The file is at least 64 MiB long
// after that; a longer one keeps its length.
func Write(ctx context.Context, file *os.File, arch string, readOnly bool) error {
	if !Supported(arch) {
		return fmt.Errorf("there are no programs to rehearse with on %s", arch)
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := max(info.Size(), leastSize)
	// Disks of one machine need names of their own: overlayfs does less where it cannot tell them apart.
	options := ext4.Options{Label: label}
	if _, err := rand.Read(options.UUID[:]); err != nil {
		return err
	}
	if readOnly {
		err = writeImage(ctx, sparse.NewFile(file), options)
	} else {
		err = ext4.Format(ctx, sparse.NewFile(file), size, options, ext4.EmptyDir{Name: "upper", Mode: 0o755}, ext4.EmptyDir{Name: "work", Mode: 0o700})
	}
	if err != nil {
		return err
	}
	return file.Truncate(size) // the builder has cut it to what it needs
}

// writeImage writes a root. It has some of the directories that are mounted on, and lacks others, as images do.
func writeImage(ctx context.Context, file *sparse.File, options ext4.Options) error {
	w := ext4.NewWriter(file, options)
	dir := func(mode uint16, children map[string]*ext4.Node) *ext4.Node {
		return &ext4.Node{Mode: ext4.ModeDir | mode, ModTime: time.Unix(1e9, 0), Children: children}
	}
	var failed error
	plain := func(mode uint16, body []byte) *ext4.Node {
		data, err := w.AddData(ctx, bytes.NewReader(body), int64(len(body)))
		if err != nil && failed == nil {
			failed = err
		}
		return &ext4.Node{Mode: ext4.ModeRegular | mode, ModTime: time.Unix(1e9, 0), Data: data}
	}
	root := dir(0o755, map[string]*ext4.Node{
		"bin": dir(0o755, map[string]*ext4.Node{"true": {Mode: ext4.ModeSymlink | 0o777, Target: "program"}, "program": plain(0o755, program()),
			"wait": plain(0o755, anywhere(waiter)), "exit": plain(0o755, anywhere(ender))}),
		"lib": dir(0o755, map[string]*ext4.Node{"ld": plain(0o755, anywhere(interpreter)),
			"data": plain(0o755, bytes.Repeat([]byte("data"), largeSize/4))}),
		"etc": dir(0o755, map[string]*ext4.Node{
			"passwd": plain(0o644, []byte("root:x:0:0:root:/root:/bin/sh\nsomebody:x:1000:1000::/tmp:/bin/sh\n")),
			"group":  plain(0o644, []byte("root:x:0:\nsomebody:x:1000:\nothers:x:1001:somebody\n")),
			"hosts":  plain(0o644, nil)}),
		"dev": dir(0o755, nil), "proc": dir(0o755, nil), "tmp": dir(0o1777, nil), "root": dir(0o700, nil),
	})
	if failed != nil {
		return failed
	}
	return w.Finish(ctx, root)
}
