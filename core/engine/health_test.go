package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/health"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestAContainerHasItsImagesHealthCheckUnlessItsUserSaysOtherwise(t *testing.T) {
	for name, test := range map[string]struct {
		image  string
		change func(*CreateRequest)
		want   string // "" means none
	}{
		"an image without one": {"", func(*CreateRequest) {}, ""},
		"the image's":          {"health", func(*CreateRequest) {}, "CMD ask"},
		"the user's":           {"health", func(r *CreateRequest) { r.Health = health.Shell("look") }, "CMD-SHELL look"},
		"none":                 {"health", func(r *CreateRequest) { r.NoHealthcheck = true }, ""},
		"none of a broken one": {"bad-health", func(r *CreateRequest) { r.NoHealthcheck = true }, ""},
		"in place of a broken": {"bad-health", func(r *CreateRequest) { r.Health = health.Shell("look") }, "CMD-SHELL look"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			t.Setenv(script, test.image)
			r := request("web")
			test.change(&r)
			c, err := e.Create(t.Context(), r, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if c.Health != nil {
				got = strings.Join(c.Health.Check.Test, " ")
			}
			if got != test.want || test.want != "" && test.image == "health" && c.Health.Check.Retries != 9 {
				t.Errorf("%+v, want %q", c.Health, test.want)
			}
		})
	}
}

func TestAHealthCheckThatMakesNoSenseIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		image  string
		change func(*CreateRequest)
		says   string
	}{
		"the image's":               {"bad-health", func(*CreateRequest) {}, "--no-healthcheck"},
		"an interval of nothing":    {"", func(r *CreateRequest) { r.Health.Interval = time.Hour }, "no command is given"},
		"none, every hour":          {"health", func(r *CreateRequest) { r.NoHealthcheck, r.Health.Interval = true, time.Hour }, "there is to be none"},
		"every millisecond":         {"health", func(r *CreateRequest) { r.Health.Interval = time.Millisecond }, "less than"},
		"a command that is no text": {"", func(r *CreateRequest) { r.Health = health.Shell("\xff") }, "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			t.Setenv(script, test.image)
			r := request("web")
			test.change(&r)
			if _, err := e.Create(t.Context(), r, nil); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v", err)
			}
			nothingLeft(t, e)
		})
	}
}
