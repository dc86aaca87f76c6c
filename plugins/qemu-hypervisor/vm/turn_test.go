package vm

import (
	"context"
	"errors"
	"testing"
	"time"
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
