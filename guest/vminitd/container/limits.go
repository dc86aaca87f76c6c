package container

import (
	"errors"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/seccomp"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
)

// filters returns those of a container's system calls: the one that every container has, and the spec's or the host's, in one if that is possible.
func (r *Runtime) filters(spec *specs.LinuxSeccomp, ready *helper.Filter) ([]helper.Filter, error) {
	var own helper.Filter
	switch {
	case spec == nil && ready == nil:
		return []helper.Filter{r.always}, nil
	case spec != nil && ready != nil:
		return nil, invalid("make the system call filter", errors.New("linux.seccomp of the spec is set beside a ready one"))
	case ready != nil:
		if err := seccomp.Check(ready.Program); err != nil {
			return nil, invalid("make the system call filter", err)
		}
		own = *ready
	default:
		compiled, err := seccomp.Compile(spec, runtime.GOARCH)
		if err != nil {
			return nil, err
		}
		own = encodeFilter(compiled)
	}
	if joined, ok := seccomp.Join(own.Program, r.always.Program); ok {
		return []helper.Filter{{Program: joined, Flags: own.Flags}}, nil
	}
	return []helper.Filter{r.always, own}, nil
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
