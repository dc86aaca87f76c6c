package vm

import (
	"net"
	"os"

	"context"
	"errors"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
)

func TestADirectoryIsOneVMsAfterAnother(t *testing.T) {
	dir := t.TempDir()
	first, err := ownDirectory(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ownDirectory(impatient, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("while another has it: %v", err)
	}
	waited := make(chan error, 1)
	go func() {
		second, err := ownDirectory(t.Context(), dir)
		if err == nil {
			err = second.Close()
		}
		waited <- err
	}()
	select {
	case err := <-waited:
		t.Fatalf("it was had twice: %v", err)
	case <-time.After(50 * time.Millisecond): // nothing tells that somebody waits
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

// TestTheNextVMKeepsItsSocketsWhenTheOneBeforeCleansUp is a container that is started again while the plugin of its killed supervisor still ends.
func TestTheNextVMKeepsItsSocketsWhenTheOneBeforeCleansUp(t *testing.T) {
	before, spec := unbooted(t)
	next, _ := unbooted(t)
	spec.StateDir = t.TempDir()
	if _, err := before.Create(t.Context(), "r", spec); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(spec.RuntimeDir), os.Mkdir(spec.RuntimeDir, 0o700)); err != nil { // as the caller makes it ready for the next
		t.Fatal(err)
	}
	created := make(chan error, 1)
	go func() {
		_, err := next.Create(t.Context(), "r", spec)
		created <- err
	}()
	select {
	case err := <-created:
		t.Fatalf("it was created beside the one before: %v", err)
	case <-time.After(50 * time.Millisecond): // nothing tells that somebody waits
	}
	if err := before.Delete(t.Context(), "r", spec.ID); err != nil {
		t.Fatal(err)
	}
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", machine.VsockPath(spec))
	if err != nil {
		t.Fatalf("it cannot be connected to: %v", err)
	}
	_ = conn.Close()
}
