package e2e

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
)

// TestE2EPipes is about what our kernel does with larger pages in pipes, see kernel/README.md: only vminitd, and who is as privileged, has any.
func TestE2EPipes(t *testing.T) {
	p := me(t)
	image := p.desk.imageWith(t, "pipes")
	for kind, test := range map[string]struct {
		options []string
		more    bool // in a pipe than its size says
	}{
		"as everywhere":  {nil, false},
		"of large pages": {[]string{"--privileged"}, true},
	} {
		t.Run(kind, func(t *testing.T) {
			p := me(t)
			name := p.name()
			p.must(append(append([]string{"run", "-d", "--name", name}, test.options...), image, "sleep", "1000")...)
			for args, want := range map[string]string{"mix": "ok\n", "whole": "ok\n", "full": "65536\n"} {
				if got := p.must(append([]string{"exec", name, "pipes"}, strings.Fields(args)...)...); got != want {
					t.Errorf("pipes %s: %q, want %q", args, got, want)
				}
			}
			const size = 128 << 10
			held, err := strconv.Atoi(strings.TrimSpace(p.must("exec", name, "pipes", "full", strconv.Itoa(size))))
			if err != nil || held < size || held > 8*size || (held > size) != test.more { // without memory at hand pages are small
				t.Errorf("a pipe of %d bytes holds %d, %v", size, held, err)
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
