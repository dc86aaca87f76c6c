package container

import (
	"errors"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/seccomp"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
)

// filters returns those of a container's system calls: the one that every container has, and the spec's or the host's.
func (r *Runtime) filters(spec *specs.LinuxSeccomp, ready *helper.Filter) ([]helper.Filter, error) {
	all := []helper.Filter{r.always}
	switch {
	case spec != nil && ready != nil:
		return nil, invalid("make the system call filter", errors.New("linux.seccomp of the spec is set beside a ready one"))
	case ready != nil:
		if err := seccomp.Check(ready.Program); err != nil {
			return nil, invalid("make the system call filter", err)
		}
		all = append(all, *ready)
	case spec != nil:
		own, err := seccomp.Compile(spec, runtime.GOARCH)
		if err != nil {
			return nil, err
		}
		all = append(all, encodeFilter(own))
	}
	return all, nil
}

func encodeFilter(f seccomp.Filter) helper.Filter {
	return helper.Filter{Program: seccomp.Encode(f.Program), Flags: f.Flags}
}

// inherit gives a further process the limits of the container's first where it brings none of its own: exec is no way out of them.
func inherit(p, first *specs.Process) {
	if p.Capabilities == nil {
		p.Capabilities = first.Capabilities
	}
	if p.Rlimits == nil {
		p.Rlimits = first.Rlimits
	}
	if p.OOMScoreAdj == nil {
		p.OOMScoreAdj = first.OOMScoreAdj
	}
	if p.User.AdditionalGids == nil {
		p.User.AdditionalGids = first.User.AdditionalGids
	}
	p.NoNewPrivileges = p.NoNewPrivileges || first.NoNewPrivileges
}
