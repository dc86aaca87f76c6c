package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// hypervisorShares is about what Create says of directories of the host, and about starting with those of each type that is offered. What a guest does with them needs a guest.
func hypervisorShares(ctx context.Context, env *Env) error {
	types := env.Process.Info().Capabilities[hypervisor.CapabilityShare]
	s, err := env.spec("shares")
	if err != nil {
		return err
	}
	dir, err := env.subdir("shared")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "a file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	good := hypervisor.Share{Tag: "share0", Path: dir}
	if len(types) == 0 {
		s.Shares = []hypervisor.Share{good}
		_, err := hypervisors(env).Create(ctx, "create-shares", s)
		return errors.Join(wantReason("create with a share, which is not offered", err, fault.Unsupported), os.Remove(s.RuntimeDir))
	}
	twice, long, missing, relative, device, other, owner := good, good, good, good, good, good, good
	long.Tag = strings.Repeat("s", hypervisor.MaxTag+1)
	missing.Path = filepath.Join(dir, "missing")
	relative.Path = "shared"
	device.Path = os.DevNull
	other.Type, owner.Ownership = "no-such-type", "no-such-ownership"
	for _, bad := range []struct {
		what    string
		shares  []hypervisor.Share
		reasons []fault.Reason
	}{
		{"two shares of one tag", []hypervisor.Share{good, twice}, []fault.Reason{fault.Invalid}},
		{"a tag that is too long", []hypervisor.Share{long}, []fault.Reason{fault.Invalid}},
		{"a directory that is not there", []hypervisor.Share{missing}, []fault.Reason{fault.NotFound, fault.Invalid}},
		{"a path that is relative", []hypervisor.Share{relative}, []fault.Reason{fault.Invalid}},
		{"a device for a directory", []hypervisor.Share{device}, []fault.Reason{fault.Invalid}},
		{"a type nobody knows", []hypervisor.Share{other}, []fault.Reason{fault.Unsupported, fault.Invalid}},
		{"an ownership nobody knows", []hypervisor.Share{owner}, []fault.Reason{fault.Unsupported, fault.Invalid}},
	} {
		s.Shares = bad.shares
		_, got := hypervisors(env).Create(ctx, "r-"+bad.what, s)
		err = errors.Join(err, wantReason("create with "+bad.what, got, bad.reasons...))
	}
	if err != nil {
		return err
	}
	for _, kind := range []string{hypervisor.Share9P, hypervisor.ShareVirtioFS} {
		s.Shares = []hypervisor.Share{{Tag: "share0", Path: dir, Type: kind}, {Tag: "share1", Path: file, ReadOnly: true, Type: kind, Ownership: hypervisor.OwnershipHost}}
		if !slices.Contains(types, kind) {
			_, got := hypervisors(env).Create(ctx, "create-"+kind, s)
			err = errors.Join(err, wantReason("create with a share by "+kind+", which is not offered", got, fault.Unsupported))
			continue
		}
		if got := env.startsWith(ctx, s); got != nil {
			err = errors.Join(err, fmt.Errorf("with shares by %s: %w", kind, got))
		}
		if got := os.MkdirAll(s.RuntimeDir, 0o700); got != nil {
			return got
		}
	}
	return errors.Join(err, os.Remove(s.RuntimeDir))
}

// startsWith has a VM created, started, killed and deleted.
func (e *Env) startsWith(ctx context.Context, s hypervisor.Spec) error {
	c := hypervisors(e)
	if _, err := c.Create(ctx, "create-"+s.ID, s); err != nil {
		return err
	}
	_, err := c.Start(ctx, s.ID)
	if err == nil {
		_, err = c.Stop(ctx, s.ID, hypervisor.Kill)
	}
	return errors.Join(err, e.forget(ctx, s))
}
