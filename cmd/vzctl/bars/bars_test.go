package bars

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/vzctl/vzctl/sdk/progress"
)

func TestLabels(t *testing.T) {
	for _, test := range []struct {
		name   string
		update progress.Update
		want   string
	}{
		{"digests are cut", progress.Update{Step: "pull", Item: "sha256:0123456789abcdef"}, "pull 0123456789ab"},
		{"a short digest is whole", progress.Update{Step: "pull", Item: "sha256:01"}, "pull 01"},
		{"a step of one item is named once", progress.Update{Step: "build", Item: "build"}, "build"},
		{"nothing that a terminal obeys", progress.Update{Step: "a\x1b[2J\r\n", Item: "b\u202e"}, "a?[2J?? b?"},
		{"long names are cut", progress.Update{Step: "0123456789012345678901234567890123456789", Item: "x"}, "012345678901234567890123456789012345678…"},
		{"no name", progress.Update{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := label(test.update); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func TestAPluginThatNamesItemsWithoutEndFillsNoMemory(t *testing.T) {
	b := New(&bytes.Buffer{})
	for i := range 10 * limit {
		b.Report(progress.Update{Step: "pull", Item: fmt.Sprint(i), Done: int64(-i), Total: int64(i % 3)})
	}
	if len(b.bars) != limit {
		t.Errorf("%d bars", len(b.bars))
	}
	b.Done()
}

func TestNothingToShowShowsNothing(t *testing.T) {
	var out bytes.Buffer
	New(&out).Done()
	if out.Len() > 0 {
		t.Errorf("%q", out.String())
	}
}

func TestSizes(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 999: "999 B", 2_345_678: "2.3 MB", 1e9: "1.0 GB"} {
		if got := Size(bytes); got != want {
			t.Errorf("%d reads %q; want %q", bytes, got, want)
		}
	}
}
