package helper

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/idmap"
	"github.com/vzctl/vzctl/guest/vminitd/failure"
	"github.com/vzctl/vzctl/guest/vminitd/userns"
)

// The helper of a container with a user namespace is born in it, as Go's threads cannot enter one later, and so the other namespaces are that one's. It is root there and nobody in the machine: it
// cannot reach the machine's files, make device nodes, or mount what is of the machine's namespaces. So vminitd makes these mounts, attached nowhere, and hands them over with the configuration.

// BornNamespaces are those of Init.Namespaces that a helper in a user namespace is born in: vminitd sets what the machine's root alone may.
const BornNamespaces = unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET

// MaxDescriptors bounds what comes with a configuration: the kernel's SCM_MAX_FD.
const MaxDescriptors = 253

// handed is how many mounts come with a configuration: the root, those of Mounts that isHanded, and Files.
func (c *Config) handed() int {
	if c.Init == nil || c.IDs == nil {
		return 0
	}
	count := 1 + len(c.Init.Files)
	for _, m := range c.Init.Mounts {
		if c.Init.isHanded(m) {
			count++
		}
	}
	return count
}

// isHanded reports whether a mount is vminitd's to make: what has a source in the machine, what is of a namespace of the machine, and /dev, as the kernel opens no device of a file system that was
// mounted in a user namespace.
func (i *Init) isHanded(m specs.Mount) bool {
	if isBind(m) {
		return true
	}
	switch m.Type {
	case "tmpfs":
		return isDev(m.Destination)
	case "sysfs":
		return i.Namespaces&unix.CLONE_NEWNET == 0
	case "mqueue":
		return i.Namespaces&unix.CLONE_NEWIPC == 0
	case "cgroup", "cgroup2":
		return i.Namespaces&unix.CLONE_NEWCGROUP == 0
	}
	return false
}

func isBind(m specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

const dev = "/dev"

func isDev(destination string) bool { return path.Join("/", destination) == dev }

// CheckHanded refuses what cannot be done for a container with a user namespace.
func (i *Init) CheckHanded() error {
	if !slices.ContainsFunc(i.Mounts, func(m specs.Mount) bool { return m.Type == "tmpfs" && !isBind(m) && isDev(m.Destination) }) {
		return refuseHanded(dev, "with a user namespace it must be a tmpfs")
	}
	for _, d := range i.Devices {
		if !strings.HasPrefix(path.Clean(d.Path), dev+"/") {
			return refuseHanded(d.Path, "with a user namespace devices must be below /dev")
		}
	}
	if c := (&Config{Init: i, IDs: &idmap.Maps{}}); c.handed()+3 > MaxDescriptors {
		return refuseHanded(strconv.Itoa(len(i.Mounts)), "mounts are too many with a user namespace")
	}
	return nil
}

func refuseHanded(subject, why string) error {
	return &failure.Error{Reason: failure.Invalid, Op: "make the container's root", Subject: subject, Cause: errors.New(why)}
}

// Hand makes, in vminitd, the mounts that come with the configuration of a first process in a user namespace, in their order. The caller closes them.
func Hand(i *Init, ns *userns.Namespace) (handed []*os.File, err error) {
	err = ns.Own(func() error {
		add := func(fd int, err error) error {
			if err == nil {
				handed = append(handed, os.NewFile(uintptr(fd), "mount"))
			}
			return err
		}
		root, _, err := cloneTree(i.Rootfs, options{})
		if err := add(root, err); err != nil {
			return err
		}
		for _, m := range i.Mounts {
			if !i.isHanded(m) {
				continue
			}
			if err := add(i.hand(m, ns)); err != nil {
				return err
			}
		}
		for _, f := range i.Files {
			fd, _, err := cloneTree(f.Source, options{})
			if err := add(fd, err); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, f := range handed {
			_ = f.Close()
		}
		return nil, err
	}
	return handed, nil
}

// hand makes one mount.
func (i *Init) hand(m specs.Mount, ns *userns.Namespace) (fd int, err error) {
	if isDev(m.Destination) {
		if m.Options, err = outsideOwners(m.Options, ns.IDs()); err != nil {
			return -1, &failure.Error{Reason: failure.Invalid, Op: "mount", Subject: m.Destination, Cause: err}
		}
	}
	p, err := prepare(m)
	if err != nil {
		return -1, err
	}
	switch {
	case isBind(m):
		err = ns.Map(p.fd, parseOptions(m.Options).recursive)
	case isDev(m.Destination):
		err = i.fillDev(root(p.fd), ns.IDs())
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("mount %s: %w", m.Destination, err), unix.Close(p.fd))
	}
	return p.fd, nil
}

// fillDev makes the devices of the container in what will be its /dev.
func (i *Init) fillDev(at root, ids *idmap.Maps) error {
	if err := at.makeStandardDevices("/", ids); err != nil {
		return err
	}
	devices := slices.Clone(i.Devices)
	for n := range devices {
		devices[n].Path = strings.TrimPrefix(path.Clean(devices[n].Path), dev)
	}
	return at.makeDevices(devices, ids)
}

// outsideOwners gives the options uid= and gid= of a file system the ids that the machine knows.
func outsideOwners(words []string, ids *idmap.Maps) ([]string, error) {
	words = slices.Clone(words)
	for n, word := range words {
		name, value, _ := strings.Cut(word, "=")
		of, isOwner := map[string]idmap.Map{"uid": ids.UIDs, "gid": ids.GIDs}[name]
		if !isOwner {
			continue
		}
		id, isID := parseID(value)
		outside, mapped := of.Outside(uint32(id))
		if !isID || !mapped {
			return nil, fmt.Errorf("option %.40q has no id of the container's user namespace", word)
		}
		words[n] = name + "=" + strconv.FormatUint(uint64(outside), 10)
	}
	return words, nil
}

// SplitSysctls parts the kernel's settings for a first process in a user namespace: those of System V IPC are for its root alone to make, if they are the container's own, and all others for
// the machine's.
func (i *Init) SplitSysctls() (outside, inside map[string]string) {
	outside, inside = map[string]string{}, map[string]string{}
	for name, value := range i.Sysctl {
		if i.Namespaces&unix.CLONE_NEWIPC != 0 && !strings.HasPrefix(name, "net.") {
			inside[name] = value
		} else {
			outside[name] = value
		}
	}
	return outside, inside
}

// buildRootHanded is buildRoot in a user namespace.
func buildRootHanded(i *Init, handed []int, cwd string) error {
	if err := i.part(i.Namespaces &^ BornNamespaces); err != nil {
		return err
	}
	mounts, err := i.takeHanded(handed[1:])
	if err != nil {
		return err
	}
	_, settings := i.SplitSysctls()
	if err := SetSysctls(settings); err != nil {
		return err
	}
	if err := unix.MoveMount(handed[0], "", unix.AT_FDCWD, stageAt, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	if err := errors.Join(unix.Close(handed[0]), pivot(stageAt)); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	for _, m := range mounts {
		if err := m.place(); err != nil {
			return err
		}
	}
	return makeWorkingDirectory(cwd)
}

// takeHanded is prepareAll with what vminitd has made.
func (i *Init) takeHanded(handed []int) (mounts []prepared, err error) {
	next := func(destination string) (p prepared, err error) {
		var stat unix.Stat_t
		if err := unix.Fstat(handed[0], &stat); err != nil {
			return p, err
		}
		p = prepared{fd: handed[0], destination: destination, directory: stat.Mode&unix.S_IFMT == unix.S_IFDIR}
		handed = handed[1:]
		return p, nil
	}
	for _, m := range i.Mounts {
		var p prepared
		if i.isHanded(m) {
			if p, err = next(m.Destination); err == nil {
				p.strict, p.propagation = m.Type == "sysfs", parseOptions(m.Options).propagation
			}
		} else {
			p, err = prepare(m)
		}
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, p)
	}
	for _, f := range i.Files {
		p, err := next(f.Destination)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, p)
	}
	return mounts, nil
}

// GiveMessageQueues gives somebody the file system of the message queues of the thread's namespace, which the kernel has made for whoever made that.
func GiveMessageQueues(uid, gid int) error {
	queues, err := newMount("mqueue", "mqueue", 0, nil)
	if err == nil {
		err = errors.Join(unix.Fchownat(queues, "", uid, gid, unix.AT_EMPTY_PATH), unix.Close(queues))
	}
	if err != nil {
		return fmt.Errorf("give root of the container its message queues: %w", err)
	}
	return nil
}

// RaiseLimits lets a process have limits that are higher than its own: in a user namespace it may not. None becomes lower.
func RaiseLimits(pid int, limits []specs.POSIXRlimit) error {
	for _, l := range allRlimits(limits) {
		resource, known := rlimitNumber(l.Type)
		if !known {
			continue // which the helper says
		}
		var now unix.Rlimit
		if err := unix.Prlimit(pid, resource, nil, &now); err != nil {
			return err
		}
		if l.Hard <= now.Max {
			continue
		}
		now.Max = l.Hard
		if err := unix.Prlimit(pid, resource, &now, nil); err != nil {
			return &failure.Error{Reason: failure.Invalid, Op: "set limit", Subject: l.Type, Cause: err}
		}
	}
	return nil
}
