package terminal

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// ParseKeys reads keys as people write them: "ctrl-p,ctrl-q", "a", "ctrl-@". None is no keys.
func ParseKeys(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	var keys []byte
	for _, word := range strings.Split(text, ",") {
		key, ok := parseKey(word)
		if !ok {
			return nil, fmt.Errorf("%q: use keys like ctrl-p,ctrl-q; a key is one character, or ctrl- and a letter or one of @ [ \\ ] ^ _", text)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parseKey(word string) (byte, bool) {
	if len(word) == 1 && word[0] > ' ' && word[0] <= '~' {
		return word[0], true
	}
	letter, ok := strings.CutPrefix(strings.ToLower(word), "ctrl-")
	if !ok || len(letter) != 1 {
		return 0, false
	}
	switch key := letter[0]; {
	case key >= 'a' && key <= 'z':
		return key - 'a' + 1, true
	case key == '@' || key >= '[' && key <= '_':
		return key & 0x1f, true
	}
	return 0, false
}

// Watched is an input in which somebody may type keys that are not for the process.
type Watched struct {
	in    io.Reader
	keys  []byte
	typed func()
	ended <-chan struct{}

	held int    // how many of the keys were typed, and not handed on yet
	left []byte // to be handed on
	err  error  // after that
	over bool
}

// Watch returns what is typed in, without keys, typed one after the other: then it calls typed, once, and from there on has nothing more, and no end before ended is
// closed: to a process an end would mean something.
func Watch(in io.Reader, keys []byte, typed func(), ended <-chan struct{}) *Watched {
	return &Watched{in: in, keys: keys, typed: typed, ended: ended}
}

// Read hands keys on as they come, but the beginning of the keys it waits for only once it is clear that they are something else.
func (w *Watched) Read(p []byte) (int, error) {
	for len(w.left) == 0 {
		if w.over {
			<-w.ended
			return 0, io.EOF
		}
		if w.err != nil {
			return 0, w.err
		}
		buffer := make([]byte, len(p))
		n, err := w.in.Read(buffer)
		w.sift(buffer[:n])
		if w.err = err; err != nil && !w.over {
			w.left = append(w.left, w.keys[:w.held]...)
			w.held = 0
		}
		if len(p) == 0 {
			break
		}
	}
	n := copy(p, w.left)
	w.left = w.left[n:]
	return n, nil
}

func (w *Watched) sift(typed []byte) {
	for _, key := range typed {
		w.left = append(w.left, w.match(key)...)
		if w.held == len(w.keys) {
			w.over, w.held = true, 0
			w.typed()
			return
		}
	}
}

// match takes a key, and returns what is the process's now: all but the longest end that is a beginning of the keys.
func (w *Watched) match(key byte) []byte {
	seen := append(bytes.Clone(w.keys[:w.held]), key)
	for from := range seen {
		if bytes.HasPrefix(w.keys, seen[from:]) {
			w.held = len(seen) - from
			return seen[:from]
		}
	}
	w.held = 0
	return seen
}
