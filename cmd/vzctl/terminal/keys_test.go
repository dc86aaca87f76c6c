package terminal

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestKeysAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "ctrl-p,ctrl-q": "\x10\x11", "a": "a", "a,b": "ab", "CTRL-A,d": "\x01d", "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_": "\x00\x1b\x1c\x1d\x1e\x1f", "~": "~",
	} {
		if got, err := ParseKeys(text); err != nil || string(got) != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"ctrl-", "ctrl-1", "ctrl-pp", "ctrl-p,", ",", "ab", "é", "alt-x", " "} {
		if got, err := ParseKeys(text); err == nil {
			t.Errorf("%q is %q; want a refusal", text, got)
		}
	}
}

func TestWhatIsTypedReachesTheProcessButTheKeysThatWereWaitedFor(t *testing.T) {
	for _, test := range []struct {
		name, keys, typed, passed string
		left                      bool
	}{
		{"nothing of them", "pq", "hello\n", "hello\n", false},
		{"the keys alone", "pq", "pq", "", true},
		{"keys in the middle, and nothing behind them", "pq", "abpqcd", "ab", true},
		{"the first, and another", "pq", "pxpq", "px", true},
		{"the first twice", "pq", "ppq", "p", true},
		{"an end in the middle of them", "pq", "abp", "abp", false},
		{"a beginning within", "aab", "aaab", "a", true},
		{"a beginning within that is longer", "abac", "ababac", "ab", true},
		{"one key", "x", "yx", "y", true},
	} {
		for _, slow := range []bool{false, true} {
			in := io.Reader(strings.NewReader(test.typed))
			if slow {
				in = iotest.OneByteReader(in)
			}
			left, ended := 0, make(chan struct{})
			close(ended)
			got, err := io.ReadAll(Watch(in, []byte(test.keys), func() { left++ }, ended))
			if err != nil || string(got) != test.passed || left > 1 || (left == 1) != test.left {
				t.Errorf("%s: %q, %v, left %d times; want %q, %v", test.name, got, err, left, test.passed, test.left)
			}
		}
	}
}

func TestAKeyIsHandedOnAtOnce(t *testing.T) {
	r, w := io.Pipe()
	watched := Watch(r, []byte("pq"), func() {}, nil)
	for _, typed := range []string{"a", "b", "px"} {
		go io.WriteString(w, typed)
		got := make([]byte, len(typed))
		if _, err := io.ReadFull(watched, got); err != nil || string(got) != typed {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestThereIsNoEndBehindTheKeysWhileTheProcessGoesOn(t *testing.T) {
	ended, read := make(chan struct{}), make(chan error, 1)
	left := make(chan struct{})
	watched := Watch(strings.NewReader("pq"), []byte("pq"), func() { close(left) }, ended)
	go func() {
		_, err := watched.Read(make([]byte, 10))
		read <- err
	}()
	<-left
	select {
	case err := <-read:
		t.Errorf("it has ended with %v", err)
	default:
	}
	close(ended)
	if err := <-read; err != io.EOF {
		t.Error(err)
	}
}

func TestAnInputThatFailsLosesNothing(t *testing.T) {
	broken := errors.New("broken")
	got, err := io.ReadAll(Watch(io.MultiReader(strings.NewReader("abp"), iotest.ErrReader(broken)), []byte("pq"), func() {}, nil))
	if !errors.Is(err, broken) || !bytes.Equal(got, []byte("abp")) {
		t.Errorf("%q, %v", got, err)
	}
}
