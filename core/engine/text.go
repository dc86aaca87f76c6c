package engine

import (
	"errors"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/vzctl/vzctl/sdk/fault"
)

// checkText refuses what cannot be handed on as it is: runtime specs and records are JSON, calls are protobuf, and both know text in UTF-8 only. The name of a file
// that was changed silently would be another's.
func checkText(op string, values ...string) error {
	for _, value := range values {
		if !utf8.ValidString(value) {
			return &fault.Error{Reason: fault.Invalid, Op: op, Subject: value, Cause: errors.New("it is not text in UTF-8")}
		}
	}
	return nil
}

func (r CreateRequest) checkText() error {
	return errors.Join(
		checkText("choose a command", slices.Concat(r.Entrypoint, r.Command)...),
		checkText("set environment", r.Env...),
		checkText("set working directory", r.WorkingDir),
		checkText("look up user", r.User),
		checkText("set health check", r.Health.Test...),
		checkText("find kernel", r.Kernel),
		checkText("mount", r.mountTexts()...),
		checkText("set label", slices.Concat(slices.Collect(maps.Keys(r.Labels)), slices.Collect(maps.Values(r.Labels)))...),
		checkText("add group", r.Isolation.Groups...),
		checkText("mount tmpfs", r.Isolation.Tmpfs...),
		checkText("set sysctl", slices.Concat(slices.Collect(maps.Keys(r.Isolation.Sysctls)), slices.Collect(maps.Values(r.Isolation.Sysctls)))...),
		checkText("set option of the hypervisor", slices.Collect(maps.Values(r.HypervisorOptions))...),
	)
}

func (r CreateRequest) mountTexts() (texts []string) {
	for _, m := range r.Mounts {
		texts = append(texts, m.Source, m.Destination)
	}
	return texts
}

func (r ExecRequest) checkText() error {
	return errors.Join(
		checkText("choose a command", r.Args...),
		checkText("set environment", r.Env...),
		checkText("set working directory", r.WorkingDir),
		checkText("look up user", r.User),
	)
}
