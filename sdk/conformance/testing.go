package conformance

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Test judges a plugin within a Go test, one subtest a case. Cases that cannot be run are skipped with their reason.
func Test(t *testing.T, target Target, fixture Fixture) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	info, err := Inspect(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Cases(info.Kind) {
		t.Run(c.Name, func(t *testing.T) {
			err := RunCase(t.Context(), c, target, fixture)
			var notRun NotRun
			if errors.As(err, &notRun) {
				t.Skip(notRun.Reason)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}
