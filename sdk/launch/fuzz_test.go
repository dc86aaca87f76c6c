package launch

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzLastWords has a plugin write anything as it ends: what is shown of it is one line of text, and not long.
func FuzzLastWords(f *testing.F) {
	f.Add([]byte("panic: no\n\ngoroutine 1 [running]:\n"), 3)
	f.Add([]byte(`{"@level":"error","@message":"two\nlines","error":"a cause\u001b[2J"}`+"\n"), 1)
	f.Add([]byte("\x1b[2J\u202e\xff\x00\r\n"+strings.Repeat("\u00e9", 400)), 2)
	f.Fuzz(func(t *testing.T, written []byte, pieces int) {
		var words tail
		size := len(written)/max(1, pieces%8) + 1
		for rest := written; len(rest) > 0; {
			n, _ := words.Write(rest[:min(size, len(rest))])
			rest = rest[n:]
		}
		text := words.String()
		if len(text) > 5*(maxTailLine+3) || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("last words %q", text)
		}
	})
}
