// Package service has the host's own service manager start, at boot, the containers whose restart policies say so: systemd on Linux, launchd on macOS. It writes
// one file and tells the manager; "vzctl system autostart" does the rest. What the file says is in unit.go.
package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Spec is what the service runs.
type Spec struct {
	Program string // an absolute path of a vzctl
	Root    string
	// Environment has what that needs to find its configuration, NAME=VALUE.
	Environment []string
}

// Host is the machine, as far as services are concerned.
type Host struct {
	OS   string // as Go writes it
	User bool   // a service of the user, not of the machine
	Home string
	// ConfigHome is XDG_CONFIG_HOME; empty: the default.
	ConfigHome string
	// Above is put before the paths of the machine's services, for tests.
	Above string
	// Run runs a command of the service manager and returns what it printed.
	Run func(ctx context.Context, name string, args ...string) (string, error)
}

const (
	unitName = "vzctl.service"
	label    = "io.vzctl.autostart"
)

// Path is where the service is, or would be.
func (h Host) Path() (string, error) {
	switch {
	case h.OS == "darwin" && h.User:
		return filepath.Join(h.Home, "Library", "LaunchAgents", label+".plist"), nil
	case h.OS == "darwin":
		return filepath.Join(h.Above, "/Library/LaunchDaemons", label+".plist"), nil
	case h.OS == "linux" && !h.User:
		return filepath.Join(h.Above, "/etc/systemd/system", unitName), nil
	case h.OS == "linux" && h.ConfigHome != "":
		return filepath.Join(h.ConfigHome, "systemd", "user", unitName), nil
	case h.OS == "linux":
		return filepath.Join(h.Home, ".config", "systemd", "user", unitName), nil
	}
	return "", &fault.Error{Reason: fault.Unsupported, Op: "find service manager", Subject: h.OS, Cause: errors.New("only systemd and launchd are known"),
		Hint: "have vzctl system autostart run at boot"}
}

// Text of the service's file.
func (h Host) Text(s Spec) (string, error) {
	for _, text := range append([]string{s.Program, s.Root}, s.Environment...) {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return "", &fault.Error{Reason: fault.Invalid, Op: "write service", Subject: text, Cause: errors.New("it has control characters")}
		}
	}
	if h.OS == "darwin" {
		return s.propertyList(), nil
	}
	return s.unit(h.User), nil
}

// Install writes the service, in the place of one before, and has it run from the next boot on. It returns the path. After an error there is none.
func (h Host) Install(ctx context.Context, s Spec) (string, error) {
	path, err := h.Path()
	if err != nil {
		return "", err
	}
	text, err := h.Text(s)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", refused("install service", path, err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", refused("install service", path, err)
	}
	if h.OS == "darwin" {
		return path, nil // launchd looks there at its next start
	}
	err = h.systemctl(ctx, "daemon-reload")
	if err == nil {
		err = h.systemctl(ctx, "enable", unitName)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// Uninstall removes the service; containers that run go on. That there is none is no error.
func (h Host) Uninstall(ctx context.Context) error {
	path, err := h.Path()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if h.OS != "darwin" {
		if err := h.systemctl(ctx, "disable", unitName); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil {
		return refused("remove service", path, err)
	}
	if h.OS != "darwin" {
		return h.systemctl(ctx, "daemon-reload")
	}
	return nil
}

// Status of the service.
type Status struct {
	Path      string `json:"path"`
	Installed bool   `json:"installed"`
	// Current says that the file is what Install would write.
	Current bool `json:"current"`
	// Manager is what the service manager says of it: "enabled, active"; empty if there is nothing to ask.
	Manager string `json:"manager,omitempty"`
}

// Status tells how the service is.
func (h Host) Status(ctx context.Context, s Spec) (Status, error) {
	path, err := h.Path()
	if err != nil {
		return Status{}, err
	}
	st := Status{Path: path}
	have, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, refused("read service", path, err)
	}
	st.Installed = true
	want, err := h.Text(s)
	st.Current = err == nil && string(have) == want
	if h.OS == "darwin" {
		return st, nil
	}
	var words []string
	for _, question := range []string{"is-enabled", "is-active"} {
		// A "no" is an exit code, and a word.
		answer, err := h.Run(ctx, "systemctl", h.arguments(question, unitName)...)
		if answer = strings.TrimSpace(answer); answer == "" && err != nil {
			answer = fmt.Sprintf("%s: %v", question, err)
		}
		words = append(words, answer)
	}
	st.Manager = strings.Join(words, ", ")
	return st, nil
}

func (h Host) arguments(args ...string) []string {
	if h.User {
		return append([]string{"--user"}, args...)
	}
	return args
}

func (h Host) systemctl(ctx context.Context, args ...string) error {
	args = h.arguments(args...)
	output, err := h.Run(ctx, "systemctl", args...)
	if err == nil {
		return nil
	}
	if output = strings.TrimSpace(output); output != "" {
		err = fmt.Errorf("%w: %s", err, output)
	}
	return &fault.Error{Reason: fault.Unavailable, Op: "run", Subject: "systemctl " + strings.Join(args, " "), Cause: err,
		Hint: "have vzctl system autostart run at boot in another way"}
}

func refused(op, path string, err error) error {
	reason, hint := fault.Internal, ""
	if errors.Is(err, os.ErrPermission) {
		reason, hint = fault.PermissionDenied, "be the user whose containers they are"
	}
	return &fault.Error{Reason: reason, Op: op, Subject: path, Cause: err, Hint: hint}
}
