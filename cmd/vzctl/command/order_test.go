package command

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestWhetherTheOrderOfOutputsIsSeen(t *testing.T) {
	open := func(path string) *os.File {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		return file
	}
	dir := t.TempDir()
	one, again, other := open(filepath.Join(dir, "one")), open(filepath.Join(dir, "one")), open(filepath.Join(dir, "other"))
	null, nullAgain := open(os.DevNull), open(os.DevNull)
	var buffer, second bytes.Buffer
	for name, test := range map[string]struct {
		stdout, stderr io.Writer
		seen           bool
	}{
		"one file":             {one, one, true},
		"a file opened twice":  {one, again, true},
		"two files":            {one, other, false},
		"nowhere":              {null, nullAgain, false},
		"a file and nowhere":   {one, null, false},
		"a program's one":      {&buffer, &buffer, true},
		"a program's two":      {&buffer, &second, false},
		"a file and a program": {one, &buffer, false},
	} {
		if seen := onePlace(test.stdout, test.stderr); seen != test.seen {
			t.Errorf("%s: %v", name, seen)
		}
	}
}
