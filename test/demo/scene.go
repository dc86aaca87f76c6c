package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// config lets containers of the demo reach the host's loopback, which is off by default.
const config = `[networks.default]
allow_host_loopback = true
`

// demo is where vzctl runs.
type demo struct {
	program string
	env     []string
}

// newDemo prepares a root and a configuration of its own in dir.
func newDemo(dir string) (*demo, error) {
	program, err := filepath.Abs("bin/vzctl")
	if err != nil {
		return nil, err
	}
	settings := filepath.Join(dir, "config")
	if err := os.MkdirAll(filepath.Join(settings, "vzctl"), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(settings, "vzctl", "config.toml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return &demo{program, append(os.Environ(), "VZCTL_ROOT="+filepath.Join(dir, "root"), "XDG_CONFIG_HOME="+settings)}, nil
}

// scene is one command that is shown.
type scene struct {
	say   string
	args  []string
	stdin string
	want  string // on stdout; "" for anything
	code  int
}

// sceneTime bounds a scene; without it a hung one would look like a slow one.
const sceneTime = 2 * time.Minute

func (d *demo) play(ctx context.Context, s scene) error {
	ctx, cancel := context.WithTimeout(ctx, sceneTime)
	defer cancel()
	say("%s", s.say)
	fmt.Fprintf(os.Stderr, "$ vzctl %s\n", quoted(s.args))
	var out bytes.Buffer
	cmd := d.command(ctx, s.args...)
	cmd.Stdin = strings.NewReader(s.stdin)
	cmd.Stdout = io.MultiWriter(os.Stdout, &out)
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	code := cmd.ProcessState.ExitCode()
	fmt.Fprintf(os.Stderr, "   (exit code %d, %.2f s)\n", code, took.Seconds())
	if code != s.code {
		return fmt.Errorf("vzctl %s: exit code %d, want %d", quoted(s.args), code, s.code)
	}
	if s.want != "" && out.String() != s.want {
		return fmt.Errorf("vzctl %s: printed %q, want %q", quoted(s.args), out.String(), s.want)
	}
	return nil
}

// command is asked to end before it is killed, so that it takes its container along.
func (d *demo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.program, args...)
	cmd.Env, cmd.Stderr = d.env, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// cleanUp removes what a failed or interrupted scene left.
func (d *demo) cleanUp() error {
	say("cleaning up")
	ctx, cancel := context.WithTimeout(context.Background(), sceneTime)
	defer cancel()
	list := d.command(ctx, "ls", "--all", "--quiet")
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("vzctl ls: %w", err)
	}
	if ids := strings.Fields(string(out)); len(ids) > 0 {
		return d.command(ctx, append([]string{"rm", "--force"}, ids...)...).Run()
	}
	return nil
}

// quoted is how the arguments would be typed.
func quoted(args []string) string {
	words := append([]string(nil), args...)
	for i, w := range words {
		if strings.ContainsAny(w, " ;>&") {
			words[i] = "'" + w + "'"
		}
	}
	return strings.Join(words, " ")
}
