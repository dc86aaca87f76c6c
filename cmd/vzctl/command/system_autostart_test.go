package command

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/core/engine"
)

type booting struct{ *fake }

func (booting) Autostart(_ context.Context, each func(string, error)) error {
	each("web", nil)
	each("db", errors.New("no room"))
	return errors.New("containers that failed: 1")
}

func (booting) Autostop(_ context.Context, each func(string, error)) error {
	each("web", nil)
	return nil
}

func (booting) SystemInfo(context.Context) (engine.SystemInfo, error) {
	return engine.SystemInfo{Root: "/r"}, nil
}

func TestAutostartAndAutostopNameThoseTheyReach(t *testing.T) {
	for line, want := range map[string]struct {
		code           int
		stdout, stderr string
	}{
		"system autostart": {1, "web\n", "vzctl: db: no room\n"},
		"system autostop":  {0, "web\n", ""},
	} {
		d := newDesk(nil)
		d.Open = func(context.Context, engine.Options) (engine.API, error) { return booting{&fake{}}, nil }
		code := d.run(t, strings.Fields(line)...)
		d.wants(t, code, want.code, want.stdout, want.stderr)
	}
}

func TestStatusOfTheServiceNamesItsFile(t *testing.T) {
	d := newDesk(nil)
	d.Open = func(context.Context, engine.Options) (engine.API, error) { return booting{&fake{}}, nil }
	d.LookupEnv = func(name string) (string, bool) { return t.TempDir(), name == "HOME" || name == "XDG_CONFIG_HOME" }
	// Whether this host has one is its own business.
	if code := d.run(t, "system", "service", "status"); code > 1 || !strings.HasPrefix(d.stdout.String(), "file: ") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, d.stdout.String(), d.stderr.String())
	}
}
