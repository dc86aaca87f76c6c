package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestE2ECopiesStartWhateverIsOnRecordOfTheirGuests has what was kept of a guest's greeting damaged: the next guest is asked, and the record put right.
func TestE2ECopiesStartWhateverIsOnRecordOfTheirGuests(t *testing.T) {
	p := alone(t)
	run := func() { t.Helper(); p.must("run", "--rm", p.desk.busybox, "true") }
	run() // makes the template
	var record string
	var right []byte
	all, err := filepath.Glob(filepath.Join(p.root, "answers", "*.json"))
	must(t, err)
	for _, path := range all {
		text, err := os.ReadFile(path)
		must(t, err)
		if bytes.HasPrefix(text, []byte(`{"question":["greeting",`)) {
			record, right = path, text
		}
	}
	if record == "" {
		t.Fatalf("nothing is kept in %q", all)
	}
	for name, damaged := range map[string][]byte{
		"as it was":      right,
		"empty":          nil,
		"cut":            right[:len(right)/2],
		"no abilities":   regexp.MustCompile(`"features":\[[^]]*\]`).ReplaceAll(right, []byte(`"features":[]`)),
		"other protocol": regexp.MustCompile(`"protocolM(in|ax)":1`).ReplaceAll(right, []byte(`"protocolM$1":9`)),
	} {
		must(t, os.WriteFile(record, damaged, 0o600))
		run()
		if now, err := os.ReadFile(record); err != nil || !bytes.Equal(now, right) {
			t.Errorf("%s: after the next start it is %q, %v", name, now, err)
		}
	}
}
