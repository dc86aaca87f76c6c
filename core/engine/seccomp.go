package engine

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/seccomp"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// filtered reports whether a request wants a profile of system calls.
func (r CreateRequest) filtered() bool {
	return !r.SeccompUnconfined && (!r.Isolation.Privileged || r.SeccompProfile != nil)
}

// filter is the profile of system calls of a request that wants one, made ready.
func (e *Engine) filter(r CreateRequest, subject seccomp.Subject) (madeFilter, error) {
	if r.SeccompProfile == nil {
		return e.defaultFilter(subject)
	}
	profile, err := seccomp.Parse(r.SeccompProfile)
	if err != nil {
		return madeFilter{}, err
	}
	return makeFilter(profile, subject)
}

// InspectOCI returns the runtime spec that the guest enforces. The user is looked up there, and in place of process.user.
func (e *Engine) InspectOCI(ref string) (*specs.Spec, error) {
	c, err := e.store.Find(ref)
	if err != nil {
		return nil, err
	}
	paths := e.store.Paths()
	var spec specs.Spec
	if err := store.ReadJSON(paths.ContainerSpec(c.ID), &spec); err != nil {
		return nil, &fault.Error{Reason: fault.ReasonOf(err), Op: "read the runtime spec of container", Subject: c.Name, Cause: err}
	}
	completeSpec(&spec, c)
	if c.Process.Filtered {
		spec.Linux.Seccomp = &specs.LinuxSeccomp{}
		if err := store.ReadJSON(paths.ContainerSeccomp(c.ID), spec.Linux.Seccomp); err != nil {
			return nil, &fault.Error{Reason: fault.ReasonOf(err), Op: "read the system call profile of container", Subject: c.Name, Cause: err}
		}
	}
	return &spec, nil
}
