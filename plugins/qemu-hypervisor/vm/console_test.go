package vm

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/qmp"
)

// FuzzLastWordsOfAGuest has a guest's console, and its QEMU, say anything at the end: what is shown is one line of text.
func FuzzLastWordsOfAGuest(f *testing.F) {
	f.Add([]byte("Kernel panic - not syncing: Attempted to kill init!\r\nCPU: 0\n"), []byte(`{"reason":"guest-reset"}`), []byte(""))
	f.Add([]byte("\x1b[2J\u009b2J\u202e\xff\x00\r\nKernel panic - not syncing: \u202e"), []byte(`{"reason":"guest-\u001b[2J"}`), []byte("qemu: \x1b]0;x\a\n"))
	f.Fuzz(func(t *testing.T, console, shutdown, stderr []byte) {
		var said, complained tail
		said.add(console)
		complained.add(stderr)
		e := ending{shutdown: shutdownReason(qmp.Event{Name: "SHUTDOWN", Data: shutdown}), console: said.lines(64), stderr: complained.lines(3)}
		exit := classify(e, time.Time{})
		if !utf8.ValidString(exit.Message) || strings.ContainsFunc(exit.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("message %q", exit.Message)
		}
	})
}
