package command

import (
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOutputIntoAPipeFindsRoom(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := (stream{&sink{}, w}).ReadFrom(strings.NewReader("all of it")); err != nil {
		t.Fatal(err)
	}
	if size, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0); err != nil || size < pipeSize {
		t.Errorf("the pipe holds %d bytes, %v", size, err)
	}
	w.Close()
	if got, err := io.ReadAll(r); string(got) != "all of it" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
