package restart

import (
	"errors"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk/fault"
)

func TestPoliciesAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]Policy{
		"":               {Name: No},
		"no":             {Name: No},
		"always":         {Name: Always},
		"unless-stopped": {Name: UnlessStopped},
		"on-failure":     {Name: OnFailure},
		"on-failure:0":   {Name: OnFailure},
		"on-failure:5":   {Name: OnFailure, Max: 5},
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if again, err := Parse(got.String()); err != nil || again != want {
			t.Errorf("%q is written as %q: %+v, %v", text, got.String(), again, err)
		}
	}
	for _, text := range []string{"sometimes", "always:3", "no:1", "on-failure:", "on-failure:-1", "on-failure:many", "on-failure:99999999999", "Always"} {
		if p, err := Parse(text); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}

func TestWhichEndsAreFollowedByAStart(t *testing.T) {
	success, failure, unwanted := End{}, End{Code: 137}, End{Code: 143, Unwanted: true}
	thrice := End{Code: 1, Restarts: 3}
	for _, test := range []struct {
		policy        string
		end           End
		again, atBoot bool
	}{
		{"no", failure, false, false},
		{"on-failure", success, false, false},
		{"on-failure", failure, true, true},
		{"on-failure", unwanted, false, false},
		{"on-failure", thrice, true, true},
		{"on-failure:4", thrice, true, true},
		{"on-failure:3", thrice, false, false},
		{"always", success, true, true},
		{"always", thrice, true, true},
		{"always", unwanted, false, true},
		{"unless-stopped", success, true, true},
		{"unless-stopped", failure, true, true},
		{"unless-stopped", unwanted, false, false},
	} {
		p, err := Parse(test.policy)
		if err != nil {
			t.Fatal(err)
		}
		if again, atBoot := p.Again(test.end), p.AtBoot(test.end); again != test.again || atBoot != test.atBoot {
			t.Errorf("%s after %+v: again %v, at boot %v; want %v, %v", test.policy, test.end, again, atBoot, test.again, test.atBoot)
		}
	}
}

func TestPausesDoubleToAMinuteAndBeginAnewAfterALastingRun(t *testing.T) {
	var delay time.Duration
	for _, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000} {
		if delay = Delay(delay, time.Second); delay != want*time.Millisecond {
			t.Fatalf("%v, want %v ms", delay, int(want))
		}
	}
	if got := Delay(time.Minute, 10*time.Second); got != 100*time.Millisecond {
		t.Errorf("after a run of ten seconds: %v", got)
	}
}
