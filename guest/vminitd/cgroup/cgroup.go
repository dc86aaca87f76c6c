// Package cgroup keeps each container in a cgroup (v2) of its own: limits, killing, and what the kernel says about memory. The limits are in
// limits.go, which devices a container may open in devices.go.
package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// root is the cgroup of all containers. vminitd itself stays in the root cgroup, which no limit touches.
const root = "/sys/fs/cgroup/vzctl"

var controllers = []string{"cpu", "cpuset", "io", "memory", "pids"}

// Setup makes the containers' common cgroup. Once a boot.
func Setup() error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	var machine unix.Sysinfo_t
	if err := unix.Sysinfo(&machine); err != nil {
		return os.NewSyscallError("sysinfo", err)
	}
	enable := "+" + strings.Join(controllers, " +")
	return errors.Join(
		write(filepath.Dir(root), "cgroup.subtree_control", enable),
		write(root, "cgroup.subtree_control", enable),
		write(root, memoryFile, strconv.FormatUint(forContainers(uint64(machine.Totalram)*uint64(machine.Unit)), 10)))
}

// own is the memory, in bytes, that all containers together leave to vminitd and to what of the kernel's is nobody's, whatever their own limits are. Its own pages the kernel
// cannot take from vminitd, as there is no swap and its program is in memory; but a machine of which nothing is left has it wait for each further one. 31 MiB are in use before there is any work: what the kernel has for
// itself (14), the init image (9), vminitd's heap and threads.
const own = 40 << 20

// forContainers is what all containers together may have of a machine's memory.
func forContainers(machine uint64) uint64 { return machine - min(own, machine/4) }

// Group is the cgroup of one container.
type Group struct {
	dir     string
	at      *os.File      // its directory
	events  *os.File      // eventsFile
	devices []instruction // the program that is attached; nil: none
	quota   bool          // of CPU time, is set
}

// Create makes the cgroup of a container, without limits.
func Create(id string) (*Group, error) {
	g := &Group{dir: filepath.Join(root, id)}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	if err := g.open(); err != nil {
		return nil, errors.Join(err, g.Remove())
	}
	return g, nil
}

func (g *Group) open() (err error) {
	if g.at, err = open(g.dir, unix.O_DIRECTORY); err == nil {
		g.events, err = open(filepath.Join(g.dir, eventsFile), unix.O_RDONLY)
	}
	return err
}

// open opens what is of the kernel's and never waited for. Package os would tell the poller of it as well.
func open(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Limit sets the limits of a cgroup that has none, or was made by Prepare.
func (g *Group) Limit(resources *specs.LinuxResources) error {
	settings, err := limits(resources)
	if err != nil {
		return err
	}
	quota := slices.ContainsFunc(settings, func(s setting) bool { return s.file == quotaFile })
	if g.quota && !quota {
		settings = append(settings, setting{quotaFile, "max 100000"})
	}
	g.quota = quota
	if err := g.set(settings); err != nil {
		return err
	}
	return g.allowDevices(resources)
}

// LimitIO sets limits of disks.
func (g *Group) LimitIO(disks []IOLimit) error {
	settings, err := ioLimits(disks)
	if err != nil {
		return err
	}
	return g.set(settings)
}

// LiftIO takes all limits of disks away, also for what is on its way already.
func (g *Group) LiftIO() error {
	text, err := os.ReadFile(filepath.Join(g.dir, ioFile))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) { // the cgroup is gone already
		return nil
	}
	if err != nil {
		return err
	}
	var settings []setting
	for line := range strings.Lines(string(text)) {
		if device, _, found := strings.Cut(line, " "); found {
			settings = append(settings, setting{ioFile, rateLine(device, Rates{})})
		}
	}
	return g.set(settings)
}

func (g *Group) set(settings []setting) error {
	for _, s := range settings {
		if err := write(g.dir, s.file, s.value); err != nil {
			return fmt.Errorf("set %s to %s: %w", s.file, s.value, err)
		}
	}
	return nil
}

// Prepare does what all limits have in common before they are known: the device filter that most have, and a quota of CPU time, any. With the first quota the kernel
// patches its scheduler, and an emulated CPU translates that anew.
func (g *Group) Prepare() error {
	quota := int64(100_000)
	return g.Limit(&specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota}})
}

// quotaFile has the limit of CPU time.
const quotaFile = "cpu.max"

// Directory is the cgroup's, for a fork into it: moving a process that runs already waits for an RCU grace period, some 20 ms. Remove closes it.
func (g *Group) Directory() *os.File { return g.at }

// OpenOf returns the directory of the cgroup that a process of the container has put itself into, below the container's. The caller closes it.
func (g *Group) OpenOf(pid int) (*os.File, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return nil, err
	}
	path, ok := strings.CutPrefix(strings.TrimSuffix(string(text), "\n"), "0::")
	dir := filepath.Join(filepath.Dir(root), path)
	if !ok || dir != g.dir && !strings.HasPrefix(dir, g.dir+"/") {
		return nil, fmt.Errorf("process %d is in cgroup %.200q", pid, path)
	}
	return os.Open(dir)
}

// Kill kills all processes of the cgroup; those that are being forked too.
func (g *Group) Kill() error { return write(g.dir, "cgroup.kill", "1") }

// Processes returns the ids of all processes of the cgroup.
func (g *Group) Processes() ([]int, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// OOMKills is how many processes of the cgroup the kernel has killed for want of memory.
func (g *Group) OOMKills() uint64 {
	text := make([]byte, 1<<10)
	n, err := g.events.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	for line := range strings.Lines(string(text[:n])) {
		if count, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			n, _ := strconv.ParseUint(count, 10, 64) // written by the kernel
			return n
		}
	}
	return 0
}

// Remove removes the cgroup, whose processes have all ended, and those below it. May be called again after an error.
func (g *Group) Remove() error {
	for _, f := range []*os.File{g.at, g.events} {
		if f != nil {
			_ = f.Close() // which was looked at only
		}
	}
	err := unix.Rmdir(g.dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	entries, readErr := os.ReadDir(g.dir)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := (&Group{dir: filepath.Join(g.dir, e.Name())}).Remove(); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(g.dir); err != nil {
		return fmt.Errorf("remove cgroup %s: %w", g.dir, err)
	}
	return nil
}

func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
