package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

// ioFile has the limits of disks, a line for each.
const ioFile = "io.max"

// Rates bound the use of a disk, each number is of a second; 0 does not limit.
type Rates struct{ ReadBytes, WriteBytes, ReadOperations, WriteOperations uint64 }

// IOLimit is that of a disk, by the path of its device.
type IOLimit struct {
	Device string
	Rates
}

// maxOperations is the most that the kernel counts.
const maxOperations = 1<<32 - 1

// ioLimits returns what limits mean for cgroup v2.
func ioLimits(limits []IOLimit) (settings []setting, err error) {
	for _, l := range limits {
		number, err := deviceNumber(l.Device)
		if err != nil {
			return nil, err
		}
		settings = append(settings, setting{ioFile, rateLine(number, l.Rates)})
	}
	return settings, nil
}

func deviceNumber(path string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is no disk", path)
	}
	return fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev)), nil
}

func rateLine(device string, r Rates) string {
	word := func(n uint64) string {
		if n == 0 {
			return "max"
		}
		return strconv.FormatUint(n, 10)
	}
	return device + " rbps=" + word(r.ReadBytes) + " wbps=" + word(r.WriteBytes) +
		" riops=" + word(min(r.ReadOperations, maxOperations)) + " wiops=" + word(min(r.WriteOperations, maxOperations))
}

// blockIO returns what a spec asks for by the numbers of devices. The kernel refuses those that there are not. Weights would need a scheduler of the disk that knows them, and somebody
// else to weigh against.
func blockIO(b *specs.LinuxBlockIO) (settings []setting, err error) {
	if b == nil {
		return nil, nil
	}
	err = failure.First(
		failure.Unenforced(b.Weight != nil && *b.Weight != 0, "linux.resources.blockIO.weight"),
		failure.Unenforced(b.LeafWeight != nil && *b.LeafWeight != 0, "linux.resources.blockIO.leafWeight"),
		failure.Unenforced(len(b.WeightDevice) > 0, "linux.resources.blockIO.weightDevice"))
	if err != nil {
		return nil, err
	}
	for _, of := range []struct {
		key     string
		devices []specs.LinuxThrottleDevice
		most    uint64
	}{
		{"rbps", b.ThrottleReadBpsDevice, 0}, {"wbps", b.ThrottleWriteBpsDevice, 0},
		{"riops", b.ThrottleReadIOPSDevice, maxOperations}, {"wiops", b.ThrottleWriteIOPSDevice, maxOperations},
	} {
		for _, d := range of.devices {
			if d.Major < 0 || d.Minor < 0 {
				return nil, errors.New("linux.resources.blockIO names a device with a negative number")
			}
			rate := "max"
			if d.Rate > 0 {
				rate = strconv.FormatUint(d.Rate, 10)
				if of.most > 0 {
					rate = strconv.FormatUint(min(d.Rate, of.most), 10)
				}
			}
			settings = append(settings, setting{ioFile, fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, of.key, rate)})
		}
	}
	return settings, nil
}

// undoing returns what brings a file back to what it had before the setting.
func (s setting) undoing(before string) setting {
	if s.file != ioFile {
		return setting{s.file, before}
	}
	device, _, _ := strings.Cut(s.value, " ")
	lines := strings.Split(before, "\n")
	i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, device+" ") })
	if i < 0 { // the kernel shows only what is limited
		return setting{ioFile, rateLine(device, Rates{})}
	}
	return setting{ioFile, lines[i]}
}
