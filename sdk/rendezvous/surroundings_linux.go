package rendezvous

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Surroundings are what a process inherits, and is as it is where it was made: user, namespaces, control group, CPUs and share of them, limits, rights. One that waits is of use only to who has the same. The file
// that a process executes is not among them; see [File]. Nor is what the system does not tell: the soft limit of open files, which Go raises, memory policies of NUMA, Landlock's rules.
func Surroundings() (list []string, err error) {
	list = append(list, strconv.Itoa(os.Geteuid()), strconv.Itoa(os.Getegid()))
	for _, name := range []string{"mnt", "net", "pid", "user", "ipc", "uts", "cgroup", "time"} {
		namespace, err := os.Readlink("/proc/self/ns/" + name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		list = append(list, namespace)
	}
	for _, path := range []string{"/proc/self/cgroup", "/proc/self/oom_score_adj", "/proc/self/limits", "/proc/self/status", "/proc/self/attr/current"} {
		text, err := os.ReadFile(path)
		if err != nil && path != "/proc/self/attr/current" { // which needs a security module
			return nil, err
		}
		if path == "/proc/self/status" {
			text = rights(text)
		}
		list = append(list, string(text))
	}
	root, err := File("/proc/self/root")
	if err != nil {
		return nil, err
	}
	list = append(list, root)
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		return nil, err
	}
	scheduling, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return nil, os.NewSyscallError("sched_getattr", err)
	}
	const ofProcess = 1
	priority, _, failed := unix.Syscall(unix.SYS_IOPRIO_GET, ofProcess, 0, 0)
	if failed != 0 {
		return nil, os.NewSyscallError("ioprio_get", failed)
	}
	return append(list, fmt.Sprint(cpus, scheduling.Policy, scheduling.Nice, scheduling.Priority, priority)), nil
}

// rights keeps of /proc/PID/status what a process may do.
func rights(status []byte) (kept []byte) {
	for line := range bytes.Lines(status) {
		for _, name := range []string{"Umask:", "Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:"} {
			if bytes.HasPrefix(line, []byte(name)) {
				kept = append(kept, line...)
			}
		}
	}
	return kept
}

// File tells a file from others, and from what it was before it was changed or replaced.
func File(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.ErrUnsupported
	}
	return fmt.Sprint(stat.Dev, stat.Ino, stat.Size, stat.Ctim), nil
}
