package service

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
)

var update = flag.Bool("update", false, "write the golden files")

var spec = Spec{Program: "/opt/my tools/vzctl", Root: "/var/lib/vzctl"}

func TestWhatServiceManagersAreTold(t *testing.T) {
	odd := Spec{Program: "/usr/bin/vzctl", Root: `/srv/50% "off" $HOME <&>`, Environment: []string{`XDG_CONFIG_HOME=/a b/$c`}}
	for name, test := range map[string]struct {
		host Host
		spec Spec
	}{
		"system.service": {Host{OS: "linux"}, spec},
		"user.service":   {Host{OS: "linux", User: true}, spec},
		"odd.service":    {Host{OS: "linux", User: true}, odd},
		"agent.plist":    {Host{OS: "darwin", User: true}, spec},
		"odd.plist":      {Host{OS: "darwin"}, odd},
	} {
		got, err := test.host.Text(test.spec)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || string(want) != got {
			t.Errorf("%s differs (%v; -update writes it)\n%s", path, err, got)
		}
	}
	if _, err := (Host{OS: "linux"}).Text(Spec{Program: "/a\nExecStart=/bad", Root: "/"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a path of two lines: %v", err)
	}
}

// TestSystemdFindsNothingWrong asks systemd itself, where there is one.
func TestSystemdFindsNothingWrong(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("there is no systemd-analyze here")
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []bool{false, true} {
		text, err := Host{OS: "linux", User: user}.Text(Spec{Program: self, Root: "/var/lib/a 50% $b", Environment: []string{"XDG_CONFIG_HOME=/a b"}})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), unitName)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		output, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput()
		if err != nil || strings.Contains(string(output), unitName) {
			t.Errorf("%v\n%s", err, output)
		}
	}
}

// manager is a systemd that notes what it is told.
type manager struct {
	told []string
	fail string // the verb that fails
}

func (m *manager) run(_ context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	m.told = append(m.told, line)
	switch {
	case m.fail != "" && strings.Contains(line, m.fail):
		return "no bus\n", errors.New("exit status 1")
	case strings.Contains(line, "is-enabled"):
		return "enabled\n", nil
	case strings.Contains(line, "is-active"):
		return "inactive\n", errors.New("exit status 3")
	}
	return "", nil
}

func (m *manager) says(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(m.told, "; "); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	m.told = nil
}

func TestAServiceComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		host Host
		path string
		flag string
	}{
		"of the machine":               {Host{OS: "linux", Above: dir}, "etc/systemd/system/vzctl.service", ""},
		"of a user":                    {Host{OS: "linux", User: true, Home: dir}, ".config/systemd/user/vzctl.service", "--user "},
		"of a user who configures XDG": {Host{OS: "linux", User: true, Home: "/nowhere", ConfigHome: filepath.Join(dir, "c")}, "c/systemd/user/vzctl.service", "--user "},
	} {
		t.Run(name, func(t *testing.T) {
			m := &manager{}
			h := test.host
			h.Run = m.run
			if st, err := h.Status(t.Context(), spec); err != nil || st.Installed || !strings.HasSuffix(st.Path, test.path) {
				t.Errorf("before: %+v, %v", st, err)
			}
			path, err := h.Install(t.Context(), spec)
			if err != nil || path != filepath.Join(dir, test.path) {
				t.Fatalf("%q, %v", path, err)
			}
			m.says(t, "systemctl "+test.flag+"daemon-reload; systemctl "+test.flag+"enable vzctl.service")
			if st, err := h.Status(t.Context(), spec); err != nil || !st.Installed || !st.Current || st.Manager != "enabled, inactive" {
				t.Errorf("installed: %+v, %v", st, err)
			}
			if st, err := h.Status(t.Context(), Spec{Program: "/new/vzctl", Root: "/"}); err != nil || !st.Installed || st.Current {
				t.Errorf("for another: %+v, %v", st, err)
			}
			m.told = nil
			for range 2 { // the second has nothing to do
				if err := h.Uninstall(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			m.says(t, "systemctl "+test.flag+"disable vzctl.service; systemctl "+test.flag+"daemon-reload")
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it is left: %v", err)
			}
		})
	}
}

func TestAServiceThatCannotBeEnabledIsNotLeft(t *testing.T) {
	m := &manager{fail: "enable"}
	h := Host{OS: "linux", Above: t.TempDir(), Run: m.run}
	_, err := h.Install(t.Context(), spec)
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "no bus") {
		t.Errorf("error %v", err)
	}
	if st, err := h.Status(t.Context(), spec); err != nil || st.Installed {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestLaunchdNeedsNoWord(t *testing.T) {
	h := Host{OS: "darwin", User: true, Home: t.TempDir(), Run: nil}
	path, err := h.Install(t.Context(), spec)
	if err != nil || !strings.HasSuffix(path, "Library/LaunchAgents/io.vzctl.autostart.plist") {
		t.Fatalf("%q, %v", path, err)
	}
	if st, err := h.Status(t.Context(), spec); err != nil || !st.Current {
		t.Errorf("%+v, %v", st, err)
	}
	if err := h.Uninstall(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOtherSystemsAreToldWhatToDo(t *testing.T) {
	if _, err := (Host{OS: "plan9"}).Path(); !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "autostart") {
		t.Errorf("error %v", err)
	}
}
