package signals

import (
	"errors"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
)

func TestSignalsAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]int{"TERM": 15, "sigterm": 15, "SIGKILL": 9, "9": 9, "RTMIN": 34, "RTMIN+3": 37, "SIGRTMAX-1": 63, "64": 64, "POLL": 29,
		"": 0, "0": 0, "65": 0, "-1": 0, "RTMIN-1": 0, "RTMAX+1": 0, "RTMIN+": 0, "SIGSIGTERM": 0, "STOPP": 0} {
		got, err := Number(text)
		if got != want || (err == nil) != (want != 0) || err != nil && !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}
