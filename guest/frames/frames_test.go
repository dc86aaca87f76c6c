package frames_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/vzctl/vzctl/guest/frames"
)

func TestWhatIsWrittenIsReadAndNotAByteMore(t *testing.T) {
	for _, size := range []int{0, 1, 128<<10 - 1, 128 << 10, 128<<10 + 1, 3 << 20} {
		want := bytes.Repeat([]byte("frames "), size/7+1)[:size]
		var wire bytes.Buffer
		w := frames.NewWriter(&wire)
		for rest := want; len(rest) > 0; rest = rest[min(len(rest), 100_000):] {
			if _, err := w.Write(rest[:min(len(rest), 100_000)]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		whole := bytes.Clone(wire.Bytes())
		wire.WriteString("after")
		r := frames.NewReader(&wire)
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) || !errors.Is(r.Err(), io.EOF) || wire.String() != "after" {
			t.Errorf("of %d bytes %d are read, %v; %q is left", size, len(got), err, wire.String())
		}
		for _, cut := range []int{1, 3, 4, len(whole) / 2} {
			r := frames.NewReader(bytes.NewReader(whole[:max(len(whole)-cut, 0)]))
			if err := r.Drain(); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(r.Err(), io.EOF) {
				t.Errorf("of %d bytes without the last %d: %v", size, cut, err)
			}
		}
	}
}

func TestAFrameThatIsTooLongIsRefused(t *testing.T) {
	if err := frames.NewReader(bytes.NewReader([]byte{0, 16, 0, 1})).Drain(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}
