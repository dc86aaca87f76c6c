package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// FuzzEnvFile: whatever a file of variables holds, the container gets whole NAME=VALUE entries of one line each, or the user one line that says why not.
func FuzzEnvFile(f *testing.F) {
	f.Add([]byte("# comment\n\nFROM=file\n  HOME\nUNSET\nA=b=c\r\n"))
	f.Add([]byte("=x\n"))
	f.Add([]byte("A=\x1b[2J\xff\x00\u202e\n" + strings.Repeat("x", 70_000)))
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		fake := &fake{}
		d := newDesk(fake)
		if code := d.run(t, "create", "--env-file", file, "i"); code != 0 {
			complaint := strings.TrimSuffix(d.stderr.String(), "\n")
			if complaint == "" || strings.ContainsFunc(complaint, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("exit code %d, %q", code, complaint)
			}
			return
		}
		for _, entry := range fake.createRequest.Env {
			if name, _, ok := strings.Cut(entry, "="); !ok || name == "" || strings.Contains(entry, "\n") {
				t.Errorf("entry %q", entry)
			}
		}
	})
}

// FuzzSocketWords: what is taken has both paths, that of the host absolute.
func FuzzSocketWords(f *testing.F) {
	f.Add("/h:/c")
	f.Add("h:/c:mode=0666,uid=1,gid=2")
	f.Add(":/c:mode=-1,=,")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseSocket(text); err == nil && (!filepath.IsAbs(s.Host) || s.Container == "" || strings.Contains(s.Container, ":")) {
			t.Errorf("%q is %+v", text, s)
		}
	})
}
