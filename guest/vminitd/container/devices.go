package container

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ownDevices are names below /dev that are the container's own, whatever the machine has there.
var ownDevices = []string{"console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}

// hwrng is the machine's source of random numbers.
const (
	hwrng                  = "/dev/hwrng"
	hwrngMajor, hwrngMinor = 10, 183
	// stale is more than its driver asks the host for ahead, in bytes: what it had before the machine was cloned, all clones have.
	stale = 128
)

// refresh drops the random numbers that other machines have as well, if the spec's processes could read them.
func refresh(spec *specs.Spec) error {
	if spec.Linux.Resources == nil || !slices.ContainsFunc(spec.Linux.Resources.Devices, allowsHWRNG) {
		return nil
	}
	file, err := os.Open(hwrng)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil // there is none to read
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = io.ReadFull(file, make([]byte, stale))
	return err
}

func allowsHWRNG(d specs.LinuxDeviceCgroup) bool {
	is := func(number *int64, want int64) bool { return number == nil || *number < 0 || *number == want }
	return d.Allow && (d.Type == "a" || d.Type == "c" || d.Type == "") && is(d.Major, hwrngMajor) && is(d.Minor, hwrngMinor) && strings.Contains(d.Access, "r")
}

// devices returns what a first process is to have below /dev: what the spec says, and the machine's if the spec allows every device there is.
func devices(spec *specs.Spec) ([]specs.LinuxDevice, error) {
	listed := spec.Linux.Devices
	if spec.Linux.Resources == nil || !slices.ContainsFunc(spec.Linux.Resources.Devices, allowsAll) {
		return listed, nil
	}
	err := filepath.WalkDir("/dev", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, "/dev/")
		if slices.Contains(ownDevices, name) && entry.IsDir() {
			return filepath.SkipDir
		}
		if slices.Contains(ownDevices, name) || entry.Type()&os.ModeDevice == 0 {
			return nil
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return nil // gone meanwhile
		}
		kind, mode := "b", fs.FileMode(stat.Mode).Perm()
		if entry.Type()&os.ModeCharDevice != 0 {
			kind = "c"
		}
		listed = append(listed, specs.LinuxDevice{Path: path, Type: kind, Major: int64(unix.Major(stat.Rdev)), Minor: int64(unix.Minor(stat.Rdev)), FileMode: &mode})
		return nil
	})
	return listed, err
}

func allowsAll(d specs.LinuxDeviceCgroup) bool {
	any := func(number *int64) bool { return number == nil || *number < 0 }
	return d.Allow && (d.Type == "a" || d.Type == "") && any(d.Major) && any(d.Minor) &&
		strings.Contains(d.Access, "r") && strings.Contains(d.Access, "w") && strings.Contains(d.Access, "m")
}
