package keeper

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the keeper.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Argument {
		os.Exit(Run(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// kept starts a shell under a keeper. alive is closed at its other end when neither of them is left.
func kept(t *testing.T, script string) (cmd *exec.Cmd, lifeline io.WriteCloser, alive *os.File) {
	t.Helper()
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	args := Command(os.Args[0], 1, []string{"/bin/sh", "-c", script})
	cmd = exec.Command(args[0], args[1:]...)
	cmd.ExtraFiles = []*os.File{theirs}
	if lifeline, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ours.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return cmd, lifeline, ours
}

func TestACommandIsKilledWhenItsLifelineIsCut(t *testing.T) {
	cmd, lifeline, alive := kept(t, "echo running >&3; exec sleep 1000")
	if _, err := io.ReadFull(alive, make([]byte, len("running\n"))); err != nil {
		t.Fatal(err)
	}
	if err := lifeline.Close(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(alive); err != nil || len(rest) > 0 {
		t.Errorf("the command is not gone: %q, %v", rest, err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 128+9 {
		t.Errorf("exit code %d", code)
	}
}

func TestACommandKeepsItsDescriptorsAndItsExitCode(t *testing.T) {
	for script, want := range map[string]struct {
		said string
		code int
	}{
		"echo hello >&3; exit 7": {"hello\n", 7},
		"true":                   {"", 0},
		"kill -TERM $$":          {"", 128 + 15},
		"read line; exit 3":      {"", 3}, // the lifeline is not its standard input
	} {
		t.Run(script, func(t *testing.T) {
			cmd, lifeline, alive := kept(t, script)
			if said, err := io.ReadAll(alive); err != nil || string(said) != want.said {
				t.Errorf("it said %q, %v", said, err)
			}
			_ = cmd.Wait()
			_ = lifeline.Close()
			if code := cmd.ProcessState.ExitCode(); code != want.code {
				t.Errorf("exit code %d, want %d", code, want.code)
			}
		})
	}
}

func TestACommandThatIsNotThereIsSaid(t *testing.T) {
	args := Command(os.Args[0], 0, []string{"/no/such/program"})
	output, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "/no/such/program") {
		t.Errorf("it said %q, %v", output, err)
	}
}
