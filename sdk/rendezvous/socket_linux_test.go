package rendezvous_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk/rendezvous"
)

// meet returns both ends of a connection that is made at a socket whose path no address can hold.
func meet(t *testing.T) (theirs, ours *net.UnixConn) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := rendezvous.Listen(dir, "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ours, err = rendezvous.Dial(dir, "socket")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = theirs.Close(), ours.Close() })
	return theirs, ours
}

func TestMessagesBringFiles(t *testing.T) {
	theirs, ours := meet(t)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	type message struct{ Text string }
	err = rendezvous.Send(ours, message{"take this"}, []*os.File{file})
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	var got message
	files, err := rendezvous.Receive(theirs, &got)
	if err != nil || len(files) != 1 || got.Text != "take this" {
		t.Fatalf("received %q, %d files, %v", got.Text, len(files), err)
	}
	if content, err := io.ReadAll(files[0]); string(content) != "content" || err != nil {
		t.Errorf("the file has %q, %v", content, err)
	}
	rendezvous.CloseAll(files)
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := rendezvous.Receive(theirs, &got); !errors.Is(err, io.EOF) {
		t.Errorf("after its end: %v", err)
	}
}

func TestMessagesThatAreTooLongAreRefused(t *testing.T) {
	theirs, ours := meet(t)
	if err := rendezvous.Send(ours, strings.Repeat("x", 64<<10), nil); err == nil {
		t.Error("it was sent")
	}
	if _, err := ours.Write([]byte(`"` + strings.Repeat("x", 64<<10) + `"`)); err != nil {
		t.Fatal(err)
	}
	var got string
	if _, err := rendezvous.Receive(theirs, &got); err == nil {
		t.Error("it was received")
	}
	if _, err := ours.Write([]byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := rendezvous.Receive(theirs, &got); err == nil {
		t.Error("what is no JSON was received")
	}
}

func TestAPeerIsKnownByItsProgram(t *testing.T) {
	_, ours := meet(t)
	pid, same, err := rendezvous.Peer(ours, "/proc/self/exe")
	if pid != os.Getpid() || !same || err != nil {
		t.Errorf("oneself is process %d, the same program: %v, %v", pid, same, err)
	}
	if _, same, err := rendezvous.Peer(ours, "/bin/sh"); same || err != nil {
		t.Errorf("oneself is a shell: %v, %v", same, err)
	}
}

func TestTheRemovalOfADirectoryIsTold(t *testing.T) {
	for what, change := range map[string]func(dir string) error{
		"removed":            os.RemoveAll,
		"moved away":         func(dir string) error { return os.Rename(dir, dir+"-away") },
		"something is gone":  func(dir string) error { return os.Remove(filepath.Join(dir, "file")) },
		"nobody waits on":    nil,
		"made, then removed": func(dir string) error { return errors.Join(os.Mkdir(dir+"/sub", 0o700), os.RemoveAll(dir)) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			removed, err := rendezvous.AwaitRemoval(ctx, dir)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-removed:
				t.Error("told of it before")
			default:
			}
			if change == nil {
				cancel()
			} else if err := change(dir); err != nil {
				t.Fatal(err)
			}
			select {
			case <-removed:
			case <-time.After(time.Minute):
				t.Error("never told")
			}
		})
	}
}
