package command

import (
	"context"
	"errors"
	"testing"

	"github.com/vzctl/vzctl/core/engine"
)

type patient struct {
	*fake
	probe engine.Probe
	err   error
}

func (p patient) CheckHealth(context.Context, string) (engine.Probe, error) { return p.probe, p.err }

func TestHealthcheckRunEndsAsTheCheckDoes(t *testing.T) {
	for _, test := range []struct {
		name           string
		probe          engine.Probe
		err            error
		code           int
		stdout, stderr string
	}{
		{"healthy", engine.Probe{Output: []byte("fine\n")}, nil, 0, "fine\n", ""},
		{"not", engine.Probe{ExitCode: 9, Output: []byte("ill\n")}, nil, 1, "ill\n", ""},
		{"unknown", engine.Probe{}, errors.New("it has no health check"), 125, "", "vzctl: it has no health check\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(nil)
			d.Open = func(context.Context, engine.Options) (engine.API, error) {
				return patient{&fake{}, test.probe, test.err}, nil
			}
			code := d.run(t, "healthcheck", "run", "web")
			d.wants(t, code, test.code, test.stdout, test.stderr)
		})
	}
}

func TestACheckAndNoneAreAContradiction(t *testing.T) {
	d := newDesk(&fake{})
	code := d.run(t, "run", "--no-healthcheck", "--health-cmd", "x", "i")
	d.wants(t, code, 125, "", "vzctl: give --health-cmd or --no-healthcheck, not both\n")
}
