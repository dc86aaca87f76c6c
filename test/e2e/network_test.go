package e2e

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// config writes the person's config.toml.
func (p *person) config(text string) {
	p.t.Helper()
	p.configIn(filepath.Join(p.root, "config"), text)
}

// configIn writes one below another XDG_CONFIG_HOME.
func (p *person) configIn(home, text string) {
	p.t.Helper()
	dir := filepath.Join(home, "vzctl")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func TestE2EANetworkThatCannotBe(t *testing.T) {
	p := alone(t)
	p.must("image", "pull", p.desk.busybox)
	for settings, says := range map[string]string{
		`subnet_v4 = "10.0.0.0/31"`:                             "8 to 29 bits",
		"subnet_v4 = \"10.9.0.0/24\"\ngateway_v4 = \"1.1.1.1\"": "gateway 1.1.1.1",
		`mtu = 10`:                     "MTU",
		`options = { nonsense = "x" }`: "nonsense",
		`subnet_v6 = "fe80::/64"`:      "subnet fe80::/64 is reserved",
		"subnet_v6 = \"fd00::/64\"\ngateway_v6 = \"fe80::1\"": "gateway fe80::1",
	} {
		t.Run(says, func(t *testing.T) {
			q := *p
			q.t = t
			q.config("[networks.odd]\n" + settings)
			for range 5 { // its daemon may end sooner or later than the question arrives
				q.fails([]string{"start network \"odd\": create network \"odd\": ", says}, "run", "--network", "odd", p.desk.busybox, "true")
			}
			var at struct{ RuntimeDir string }
			text, err := os.ReadFile(filepath.Join(p.root, "networks", "odd", "whereabouts.json"))
			if err == nil {
				err = json.Unmarshal(text, &at)
			}
			if err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(at.RuntimeDir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("in %s there is %v, %v", at.RuntimeDir, left, err)
			}
		})
	}
}
