package ext4

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestJournalOfACrashIsRead uses debugfs to leave transactions in the journal, as a
// guest that is killed does.
func TestJournalOfACrashIsRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pad := func(s string) string { return s + strings.Repeat("\x00", blockSize-len(s)) }
	// A block that starts with the journal's own magic number is stored escaped.
	magic := "\xc0\x3b\x39\x98 and more"

	for _, options := range []string{"", "-c"} {
		f := imageFile(t)
		if err := Format(context.Background(), f, 64<<20, testOptions); err != nil {
			t.Fatal(err)
		}
		debugfsWrite(t, f.Name(), "write "+write("old", pad("old"))+" a", "write "+write("old", pad("old"))+" b", "write "+write("old", pad("old"))+" c")
		blocks := regexp.MustCompile(`(?m)^\d+`).FindAllString(debugfs(t, f.Name(), "blocks a", "blocks b", "blocks c"), -1)
		if len(blocks) != 3 {
			t.Fatalf("blocks %q", blocks)
		}
		debugfsWrite(t, f.Name(),
			"jo "+options,
			"jw -b "+blocks[0]+" "+write("first", pad("first")),
			"jw -b "+blocks[0]+","+blocks[1]+" "+write("second", pad("second")+pad(magic)),
			"jw -b "+blocks[2]+" "+write("revoked", pad("revoked")),
			"jw -r "+blocks[2],
			"jc")
		if out := debugfs(t, f.Name(), "features"); !strings.Contains(out, "needs_recovery") {
			t.Fatalf("the journal is empty: %s", out)
		}
		fs := openFile(t, f)
		for name, want := range map[string]string{"a": "second", "b": magic, "c": "old"} {
			if got := content(t, fs, name); got != pad(want) {
				t.Errorf("%q: %.10q, want %q", name, strings.TrimRight(got, "\x00"), want)
			}
		}
	}
}

func debugfsWrite(t *testing.T, image string, commands ...string) {
	t.Helper()
	if out := runDebugfs(t, "-w", image, commands); strings.Contains(out, "Usage") {
		t.Fatal(out)
	}
}

// FuzzJournal replays damaged logs: that must end, without panic.
func FuzzJournal(f *testing.F) {
	var image memory
	if err := Format(context.Background(), &image, MinFormat, testOptions); err != nil {
		f.Fatal(err)
	}
	image.b[superblockOffset+0x60] |= incompatRecover
	fs, err := newReader(bytes.NewReader(image.b), MinFormat, true)
	if err != nil {
		f.Fatal(err)
	}
	in, err := fs.Inode(journalIno)
	if err != nil {
		f.Fatal(err)
	}
	file, err := fs.open(in)
	if err != nil {
		f.Fatal(err)
	}
	start := int(file.extents[0].physical) * blockSize
	image.b[start+0x1F] = 1 // the log starts at its first block
	f.Add(append([]byte{0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 1, 0, 0, 0, 1}, 0, 0, 0, 5, 0, 0, 0, 10))
	f.Add([]byte{0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 5})
	f.Add([]byte{0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 2, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, log []byte) {
		log = log[:min(len(log), 8*blockSize)]
		region := image.b[start+blockSize:][:8*blockSize]
		clear(region)
		copy(region, log)
		fs, err := newReader(bytes.NewReader(image.b), MinFormat, true)
		if err == nil {
			err = readEverything(fs)
		}
		_ = err // any error will do
	})
}
