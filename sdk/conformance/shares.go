package conformance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// hypervisorShares is about what Create says of directories of the host. What a guest does with them needs a guest.
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
	s.Shares = []hypervisor.Share{good, {Tag: "share1", Path: file, ReadOnly: true, Type: types[0], Ownership: hypervisor.OwnershipHost}}
	if _, err := hypervisors(env).Create(ctx, "create-shares", s); err != nil {
		return err
	}
	return env.forget(ctx, s)
}
