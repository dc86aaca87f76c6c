package engine

import (
	"errors"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/seccomp"
	"github.com/vzctl/vzctl/core/store"
	filter "github.com/vzctl/vzctl/guest/seccomp"
	"github.com/vzctl/vzctl/sdk/fault"
)

// seccompProfile returns the profile of system calls that a request means; nil: none.
func (r CreateRequest) seccompProfile() (*seccomp.Profile, error) {
	switch {
	case r.SeccompUnconfined, r.Isolation.Privileged && r.SeccompProfile == nil:
		return nil, nil
	case r.SeccompProfile != nil:
		return seccomp.Parse(r.SeccompProfile)
	}
	return seccomp.Default()
}

// writeFilter puts a container's filter of system calls beside its record, apart from the runtime spec and made ready, so that no start has to read or make it.
func (e *Engine) writeFilter(profile *seccomp.Profile, id string, subject seccomp.Subject) error {
	rules, err := profile.For(subject)
	if err != nil {
		return err
	}
	made, err := filter.Compile(rules, subject.Arch)
	if err != nil {
		return err
	}
	program := sandbox.Filter{Program: filter.Encode(made.Program), Flags: made.Flags}
	paths := e.store.Paths()
	return errors.Join(store.WriteJSON(paths.ContainerSeccomp(id), rules, false), os.WriteFile(paths.ContainerFilter(id), program.Format(), 0o600))
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
