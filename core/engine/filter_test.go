package engine

import (
	"os"
	"reflect"
	"testing"

	"github.com/vzctl/vzctl/core/seccomp"
)

func TestTheDefaultProfileIsKeptForThoseItWasMadeFor(t *testing.T) {
	e := newEngine(t)
	for name, subject := range map[string]seccomp.Subject{
		"an ordinary container": {Capabilities: []string{"CAP_CHOWN"}, Arch: "amd64", Kernel: "6.1.0"},
		"one with a capability": {Capabilities: []string{"CAP_CHOWN", "CAP_SYS_ADMIN"}, Arch: "amd64", Kernel: "6.1.0"},
		"another architecture":  {Capabilities: []string{"CAP_CHOWN"}, Arch: "arm64", Kernel: "6.1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			profile, err := seccomp.Default()
			if err != nil {
				t.Fatal(err)
			}
			want, err := makeFilter(profile, subject)
			if err != nil {
				t.Fatal(err)
			}
			for _, when := range []string{"made", "kept"} {
				if got, err := e.defaultFilter(subject); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("the one that is %s differs: %v", when, err)
				}
			}
		})
	}
	if kept, err := os.ReadDir(e.store.Paths().Answers()); err != nil || len(kept) != 3 {
		t.Errorf("%d are kept, %v", len(kept), err)
	}
}
