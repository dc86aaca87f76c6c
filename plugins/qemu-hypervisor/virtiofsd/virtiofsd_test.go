package virtiofsd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheFirstThatIsAProgramIsUsed(t *testing.T) {
	t.Setenv("PATH", "")
	dir := t.TempDir()
	at := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	places := []string{filepath.Join(dir, "missing"), dir, at("no program", 0o644), at("program", 0o755), at("another", 0o755)}
	if got, err := find(places); got != places[3] || err != nil {
		t.Errorf("found %q, %v", got, err)
	}
	if got, err := find(places[:3]); err == nil || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("found %q, %v; want an error that says what to install", got, err)
	}
	mine := filepath.Join(t.TempDir(), "virtiofsd")
	if err := os.WriteFile(mine, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(mine))
	if got, err := find(places); got != mine || err != nil {
		t.Errorf("found %q, %v; want the one of the search path", got, err)
	}
}

func TestWhatIsNotOfferedSaysWhy(t *testing.T) {
	for _, c := range []struct {
		goos string
		root bool
		word string
	}{{"darwin", true, "Linux"}, {"linux", false, "root"}} {
		if err := Offered(c.goos, c.root); err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s, root %v: %v, want a word of %q", c.goos, c.root, err, c.word)
		}
	}
}

func TestTheTwoAreToldApart(t *testing.T) {
	for said, want := range map[string]bool{
		"virtiofsd 1.13.2\n": true,
		"virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c)\nusing FUSE kernel interface version 7.36\n": false,
	} {
		if got, err := isRust(said); got != want || err != nil {
			t.Errorf("%q: Rust %v, %v", said, got, err)
		}
	}
	for _, said := range []string{"", "virtiofsd", "BusyBox v1.35"} {
		if _, err := isRust(said); err == nil {
			t.Errorf("%q is taken for a virtiofsd", said)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		name    string
		program Program
		dir     string
		want    []string
	}{
		{"in C, a path with all that options are written with", Program{}, `/a,b\c=d`,
			[]string{"--fd=3", "-f", "-o", `source=/a\,b\\c=d`, "-o", "sandbox=namespace,cache=auto,xattr,modcaps=-mknod,announce_submounts,log_level=warn"}},
		{"in Rust", Program{Rust: true}, "/a,b",
			[]string{"--fd=3", "--shared-dir=/a,b", "--sandbox=namespace", "--cache=auto", "--xattr", "--modcaps=-mknod", "--log-level=error"}},
	} {
		if got := c.program.Arguments(3, c.dir); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
