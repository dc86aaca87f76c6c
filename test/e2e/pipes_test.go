package e2e

import (
	"bytes"
	"strings"
	"testing"
)

// TestE2EPipes is about what our kernel does with larger pages in pipes, see kernel/README.md: only vminitd, and who is as privileged, has any.
func TestE2EPipes(t *testing.T) {
	p := me(t)
	image := p.desk.imageWith(t, "pipes")
	for kind, test := range map[string]struct {
		options []string
		holds   string // a pipe whose size was set to 128 KiB
	}{
		"as everywhere":  {nil, "131072\n"},
		"of large pages": {[]string{"--privileged"}, "1048576\n"},
	} {
		t.Run(kind, func(t *testing.T) {
			p := me(t)
			name := p.name()
			p.must(append(append([]string{"run", "-d", "--name", name}, test.options...), image, "sleep", "1000")...)
			for args, want := range map[string]string{"mix": "ok\n", "whole": "ok\n", "full": "65536\n", "full 131072": test.holds} {
				if got := p.must(append([]string{"exec", name, "pipes"}, strings.Fields(args)...)...); got != want {
					t.Errorf("pipes %s: %q, want %q", args, got, want)
				}
			}
			for _, how := range []string{"out", "faulty"} {
				out, sum := newDigest(), new(bytes.Buffer)
				if err := p.stream(nil, out, sum, "exec", name, "pipes", how); err != nil || out.hex() != sum.String() {
					t.Errorf("pipes %s: %d bytes with sum %s, want %s; %v", how, out.bytes, out.hex(), sum, err)
				}
			}
			if boot := p.must("logs", "--boot", name); strings.Contains(boot, "BUG:") || strings.Contains(boot, "WARNING:") {
				t.Errorf("the kernel complains:\n%s", boot)
			}
		})
	}
}
