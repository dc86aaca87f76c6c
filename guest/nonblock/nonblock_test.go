//go:build linux

package nonblock_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/vzctl/vzctl/guest/nonblock"
)

func TestEveryByteArrivesThroughAPipeThatIsFullAndEmptyInTurn(t *testing.T) {
	r, w := pipe(t)
	want := bytes.Repeat([]byte("0123456789abcdef!"), 1<<16)
	wrote := make(chan error, 1)
	go func() {
		_, err := nonblock.Of(w).Write(want)
		wrote <- errors.Join(err, w.Close())
	}()
	got, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(nonblock.Of(r), 1000)))
	if err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(nonblock.Of(r))
	if err != nil || !bytes.Equal(append(got, rest...), want) {
		t.Errorf("%d bytes arrived, %v; want %d", len(got)+len(rest), err, len(want))
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestADeadlineEndsWhatWaits(t *testing.T) {
	r, w := pipe(t)
	ended := make(chan error, 2)
	go func() { _, err := nonblock.Of(r).Read(make([]byte, 1)); ended <- err }()
	if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading ended with %v", err)
	}
	n := make(chan int, 1)
	go func() { wrote, err := nonblock.Of(w).Write(make([]byte, 8<<20)); n <- wrote; ended <- err }()
	if _, err := io.ReadFull(nonblockAfter(t, r), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if wrote, err := <-n, <-ended; wrote < 1<<20 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing ended after %d bytes with %v", wrote, err)
	}
}

// nonblockAfter lets a file be read again after its deadline.
func nonblockAfter(t *testing.T, file *os.File) io.Reader {
	t.Helper()
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return nonblock.Of(file)
}

func TestCloseEndsWhatWaits(t *testing.T) {
	r, _ := pipe(t)
	reader, ended := nonblock.Of(r), make(chan error, 1)
	go func() { _, err := reader.Read(make([]byte, 1)); ended <- err }()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("reading ended with %v", err)
	}
}

func TestAReaderThatLeftIsAnError(t *testing.T) {
	r, w := pipe(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := nonblock.Of(w).Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v", err)
	}
}

func TestAFileWhoseCallsMayWaitIsUsedAsItIs(t *testing.T) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	defer r.Close()
	defer w.Close()
	if nonblock.Of(r) != io.ReadWriter(r) || nonblock.Of(w) != io.ReadWriter(w) {
		t.Error("a call could hold up the whole process")
	}
}

// pipe is one as os.Pipe makes it: not waiting, and known to the poller.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	if nonblock.Of(r) == io.ReadWriter(r) {
		t.Fatal("a pipe of os.Pipe is one whose calls wait")
	}
	return r, w
}
