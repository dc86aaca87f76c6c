package engine

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hostpath"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// isPath reports whether people mean a file by this word.
func isPath(word string) bool {
	return strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../") || filepath.IsAbs(word)
}

// absolute makes a path independent of the working directory, which plugins do not share; other words stay.
func absolute(word string) string {
	if !isPath(word) {
		return word
	}
	if abs, err := filepath.Abs(word); err == nil {
		return abs
	}
	return word
}

// checkDisks refuses disks that a plugin says it made and that are not files below the directory it was given.
func checkDisks(disks []rootfs.Disk, dir string) error {
	for _, d := range disks {
		if err := hostpath.File(dir, d.Path); err != nil {
			return &fault.Error{Reason: fault.Internal, Op: "use disk of the rootfs builder plugin", Subject: d.Path, Cause: err}
		}
	}
	if len(disks) == 0 {
		return &fault.Error{Reason: fault.Internal, Op: "build root file system", Cause: errors.New("the rootfs builder plugin gave no disk")}
	}
	return nil
}

// archOf returns the architecture of a platform as people write it, "linux/arm64".
func archOf(platform string) (string, error) {
	parts := strings.Split(platform, "/")
	if len(parts) < 2 || parts[1] == "" {
		return "", &fault.Error{Reason: fault.Invalid, Op: "use platform", Subject: platform, Cause: errors.New("it is not os/architecture"),
			Hint: "write linux/amd64 or linux/arm64"}
	}
	return parts[1], nil
}
