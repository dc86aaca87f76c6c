package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/translator"
)

func translatorCases() []Case {
	return []Case{
		{Name: "every pair it offers has a plan a guest can register", Run: translatorPairs},
		{Name: "a pair it does not offer is unsupported", Run: translatorForeign},
	}
}

func translatorPairs(ctx context.Context, env *Env) error {
	info := env.Process.Info()
	pairs := info.Capabilities[translator.CapabilityPair]
	if len(pairs) == 0 {
		return NotRun{Reason: "the plugin offers no pair here"}
	}
	for _, pair := range pairs {
		guest, program, ok := strings.Cut(pair, ":")
		if !ok {
			return fmt.Errorf("pair %q is not \"<guest arch>:<program arch>\"", pair)
		}
		plan, err := translator.NewClient(env.Process.Conn(), info).Plan(ctx, guest, program)
		if err != nil {
			return err
		}
		if err := checkPlan(plan); err != nil {
			return wrong(err, "plan for %q", pair)
		}
	}
	return nil
}

func checkPlan(p translator.Plan) error {
	b := p.Binfmt
	switch {
	case b.Name == "" || strings.ContainsAny(b.Name, "/:"):
		return fmt.Errorf("binfmt name %q", b.Name)
	case len(b.Magic) == 0 || len(b.Mask) != 0 && len(b.Mask) != len(b.Magic):
		return fmt.Errorf("a magic of %d bytes with a mask of %d", len(b.Magic), len(b.Mask))
	case int(b.Offset)+len(b.Magic) > 256:
		return fmt.Errorf("the kernel looks at the first 256 bytes only")
	}
	path := ""
	switch {
	case p.File != nil:
		path = p.File.HostPath
	case p.Share != nil:
		path = filepath.Join(p.Share.HostPath, p.Share.Interpreter)
	default:
		return nil
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("interpreter %q is no file", path)
	}
	return err
}

func translatorForeign(ctx context.Context, env *Env) error {
	for _, pair := range [][2]string{{"vax", "pdp11"}, {"", ""}} {
		_, err := translator.NewClient(env.Process.Conn(), env.Process.Info()).Plan(ctx, pair[0], pair[1])
		if err := wantReason("plan", err, fault.Unsupported, fault.Invalid); err != nil {
			return err
		}
	}
	return nil
}
