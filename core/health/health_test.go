package health

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk/fault"
)

func TestAnImagesCheckIsReadAsDockerWritesIt(t *testing.T) {
	got, err := Parse(json.RawMessage(`{"Test":["CMD","curl","-f","http://localhost/"],"Interval":5000000000,"Timeout":2000000000,"StartPeriod":1000000000,"StartInterval":500000000,"Retries":7}`))
	want := &Check{Test: []string{"CMD", "curl", "-f", "http://localhost/"}, Interval: 5 * time.Second, Timeout: 2 * time.Second, StartPeriod: time.Second,
		StartInterval: 500 * time.Millisecond, Retries: 7}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, none := range []string{`null`, `{}`, `{"Test":[]}`, `{"Test":["NONE"]}`} {
		if got, err := Parse(json.RawMessage(none)); got != nil || err != nil {
			t.Errorf("%s: %+v, %v", none, got, err)
		}
	}
	for _, broken := range []string{`"yes"`, `{"Test":"true"}`, `{"Test":["CMD","a"],"Interval":"5s"}`} {
		if got, err := Parse(json.RawMessage(broken)); err == nil {
			t.Errorf("%s: %+v", broken, got)
		}
	}
}

func TestAUsersWordsGoBeforeTheImages(t *testing.T) {
	image := &Check{Test: []string{"CMD", "true"}, Interval: time.Minute, Retries: 2}
	for name, test := range map[string]struct {
		image *Check
		user  Check
		want  *Check
		fails string
	}{
		"nothing":                          {nil, Check{}, nil, ""},
		"the image's":                      {image, Check{}, image, ""},
		"the image's, less often":          {image, Check{Interval: time.Hour}, &Check{Test: image.Test, Interval: time.Hour, Retries: 2}, ""},
		"another command":                  {image, Shell("false"), &Check{Test: []string{"CMD-SHELL", "false"}, Interval: time.Minute, Retries: 2}, ""},
		"the user's alone":                 {nil, Shell("x"), &Check{Test: []string{"CMD-SHELL", "x"}}, ""},
		"none":                             {image, Disabled(), nil, ""},
		"none, and an interval":            {image, Check{Test: []string{"NONE"}, Interval: time.Hour}, nil, "there is to be none"},
		"an interval of nothing":           {nil, Check{Interval: time.Hour}, nil, "no command is given"},
		"an interval too short":            {image, Check{Interval: time.Microsecond}, nil, "less than 100ms"},
		"a negative timeout":               {image, Check{Timeout: -time.Second}, nil, "less than"},
		"retries less than none":           {image, Check{Retries: -1}, nil, "less than none"},
		"an image's test of no known kind": {&Check{Test: []string{"HTTP", "/"}}, Check{}, nil, "neither CMD"},
		"an image's empty command":         {&Check{Test: []string{"CMD"}}, Check{}, nil, "neither CMD"},
		"an image's negative durations":    {&Check{Test: []string{"CMD", "x"}, Interval: -5}, Check{}, &Check{Test: []string{"CMD", "x"}}, ""},
	} {
		got, err := Merge(test.image, test.user)
		if test.fails == "" && (err != nil || !reflect.DeepEqual(got, test.want)) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, test.want)
		}
		if test.fails != "" && (!errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), test.fails)) {
			t.Errorf("%s: error %v; want %q", name, err, test.fails)
		}
	}
}

func TestWhatIsExecuted(t *testing.T) {
	for _, test := range []struct{ test, want []string }{
		{[]string{"CMD", "curl", "x y"}, []string{"curl", "x y"}},
		{[]string{"CMD-SHELL", "curl x || exit 1"}, []string{"/bin/sh", "-c", "curl x || exit 1"}},
	} {
		if got, err := (Check{Test: test.test}).Args(); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: %q, %v", test.test, got, err)
		}
	}
}

func TestExitCodesAddUpToAStatus(t *testing.T) {
	c := Check{Retries: 2, StartPeriod: 10 * time.Second}
	for name, probes := range map[string]struct {
		ages  []int // seconds
		codes []int
		want  string
	}{
		"one success is enough":                    {[]int{1}, []int{0}, "healthy"},
		"failures while it starts do not count":    {[]int{1, 2, 3, 4}, []int{1, 1, 1, 1}, "starting starting starting starting"},
		"after that they do":                       {[]int{9, 11, 12}, []int{1, 1, 1}, "starting starting unhealthy"},
		"once it was healthy they do at any time":  {[]int{1, 2, 3}, []int{0, 1, 1}, "healthy healthy unhealthy"},
		"a success in between begins the count":    {[]int{20, 21, 22, 23}, []int{1, 0, 1, 0}, "starting healthy healthy healthy"},
		"it recovers":                              {[]int{20, 21, 22}, []int{1, 1, 0}, "starting unhealthy healthy"},
		"a timeout is a failure, as any exit code": {[]int{20, 21}, []int{TimedOut, 9}, "starting unhealthy"},
	} {
		s := State{Status: Starting}
		var got []string
		for i, code := range probes.codes {
			s.Add(c, Result{ExitCode: code}, time.Duration(probes.ages[i])*time.Second)
			got = append(got, string(s.Status))
		}
		if strings.Join(got, " ") != probes.want {
			t.Errorf("%s: %q, want %q", name, got, probes.want)
		}
	}
	s := State{Status: Starting}
	for range 3 {
		s.Add(Check{}, Result{ExitCode: 1}, time.Hour)
	}
	if s.Status != Unhealthy {
		t.Errorf("three failures by default: %s", s.Status)
	}
}

func TestTheLastProbesAreKeptAndShort(t *testing.T) {
	s := State{Status: Starting}
	for i := range 8 {
		s.Add(Check{}, Result{ExitCode: i, Output: strings.Repeat("x", MaxOutput-1) + "äöü"}, 0)
	}
	if len(s.Log) != 5 || s.Log[0].ExitCode != 3 || s.Log[4].ExitCode != 7 {
		t.Errorf("kept %d, from %d", len(s.Log), s.Log[0].ExitCode)
	}
	if out := s.Log[0].Output; len(out) > MaxOutput+2 || !strings.HasSuffix(out, "x\uFFFD") {
		t.Errorf("%d bytes, end %q", len(out), out[len(out)-5:])
	}
}

func TestPausesBetweenProbes(t *testing.T) {
	starting, healthy := State{Status: Starting}, State{Status: Healthy}
	for name, test := range map[string]struct {
		check Check
		state State
		age   time.Duration
		want  time.Duration
	}{
		"by default":                       {Check{}, starting, 0, 30 * time.Second},
		"as set":                           {Check{Interval: time.Minute}, healthy, 0, time.Minute},
		"while it starts":                  {Check{StartPeriod: time.Minute}, starting, time.Second, 5 * time.Second},
		"while it starts, as set":          {Check{StartPeriod: time.Minute, StartInterval: time.Second}, starting, time.Second, time.Second},
		"healthy before its time":          {Check{StartPeriod: time.Minute}, healthy, time.Second, 30 * time.Second},
		"after its time":                   {Check{StartPeriod: time.Minute}, starting, time.Hour, 30 * time.Second},
		"an image that has no time at all": {Check{Interval: 1}, healthy, 0, 100 * time.Millisecond},
	} {
		if got := test.check.Pause(test.state, test.age); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
