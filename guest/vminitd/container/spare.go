package container

import (
	"errors"
	"os"

	"github.com/vzctl/vzctl/guest/vminitd/cgroup"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/launch"
)

// spare is what every container needs and can be made before it is known which comes: its cgroup, and in it the process that becomes its first. In a VM
// that was cloned it was made in the template; under emulation that saves a third of a container's start.
type spare struct {
	group  *cgroup.Group
	helper *launch.Helper
}

// spareID is the name of the cgroup. No container can be called so.
const spareID = ".spare"

func newSpare(r *Runtime) (s *spare, err error) {
	s = &spare{}
	if s.group, err = cgroup.Create(spareID); err != nil {
		return nil, err
	}
	err = s.group.Prepare()
	var dir *os.File
	if err == nil {
		dir, err = s.group.Open()
	}
	if err == nil {
		s.helper, err = launch.New(r.reaper, dir, nil)
		err = errors.Join(err, dir.Close())
	}
	if err == nil {
		err = s.rehearse(r)
	}
	if err == nil {
		return s, nil
	}
	if s.helper != nil {
		s.helper.Discard()
	}
	return nil, errors.Join(err, s.group.Remove())
}

// rehearse goes through the reading of a spec, here and in the helper.
func (s *spare) rehearse(r *Runtime) error {
	spec, err := parseSpec([]byte(sampleSpec))
	if err != nil {
		return err
	}
	flags, err := namespaces(spec.Linux.Namespaces)
	if err != nil {
		return err
	}
	filters, err := r.filters(spec.Linux.Seccomp, nil)
	if err != nil {
		return err
	}
	return s.helper.Rehearse(helper.Config{Init: initConfig(spec, flags), Process: spec.Process, User: "root", Filters: filters})
}

// sampleSpec has every kind of thing that a container's spec mostly has.
const sampleSpec = `{
	"ociVersion": "1.2.0",
	"process": {
		"user": {"uid": 0, "gid": 0, "additionalGids": [1]}, "args": ["true"], "env": ["PATH=/bin"], "cwd": "/", "noNewPrivileges": false,
		"capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "inheritable": [], "permitted": ["CAP_CHOWN"], "ambient": []},
		"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
	},
	"root": {"path": "rootfs", "readonly": false},
	"hostname": "sample",
	"mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}],
	"annotations": {"a": "b"},
	"linux": {
		"sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
		"resources": {
			"devices": [{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
			"memory": {"limit": 1073741824}, "cpu": {"shares": 1024, "quota": 100000, "period": 100000}, "pids": {"limit": 100}
		},
		"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "cgroup"}],
		"devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}],
		"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
			"syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]}]},
		"maskedPaths": ["/proc/kcore"],
		"readonlyPaths": ["/proc/sys"]
	}
}`
