package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
)

func noEnv(string) string { return "" }

// write files with the contents, in order.
func write(t *testing.T, contents ...string) []string {
	t.Helper()
	var files []string
	for _, content := range contents {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	return files
}

func TestEverySettingIsRead(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	got, err := load(write(t, `
root = "/data/vzctl"
reserve = "90s"
[plugins]
dirs = ["/opt/plugins"]
use = { hypervisor = "qemu-hypervisor", image-source = "/opt/source" }
sha256 = { qemu-hypervisor = "`+sum+`" }
[defaults]
cpus = 2
memory = "512MiB"
disk = 1073741824
network = "default"
kernel = "/boot/vmlinux"
platform = "linux/arm64"
log_max_size = "1m"
log_max_files = 3
mount_transport = "virtiofs"
hypervisor_options = { accelerator = "tcg" }
[networks.default]
plugin = "user-network"
subnet_v4 = "10.0.2.0/24"
subnet_v6 = "fd00::/64"
gateway_v4 = "10.0.2.1"
gateway_v6 = "fd00::1"
mtu = 1400
internal = true
allow_host_loopback = true
allow_lan = true
options = { a = "b" }
`), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Root: "/data/vzctl", Reserve: "90s",
		Plugins: Plugins{Dirs: []string{"/opt/plugins"}, SHA256: map[string]string{"qemu-hypervisor": sum},
			Use: map[sdk.Kind]string{sdk.Hypervisor: "qemu-hypervisor", sdk.ImageSource: "/opt/source"}},
		Defaults: Defaults{CPUs: 2, Memory: 512 << 20, Disk: 1 << 30, Network: "default", Kernel: "/boot/vmlinux",
			Platform: "linux/arm64", LogMaxSize: 1 << 20, LogMaxFiles: 3, MountTransport: "virtiofs", HypervisorOptions: map[string]string{"accelerator": "tcg"}},
		Networks: map[string]Network{"default": {Plugin: "user-network", SubnetV4: "10.0.2.0/24", SubnetV6: "fd00::/64",
			GatewayV4: "10.0.2.1", GatewayV6: "fd00::1", MTU: 1400, Internal: true, AllowHostLoopback: true, AllowLAN: true,
			Options: map[string]string{"a": "b"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAFamilyOfAddressesCanBeTurnedOff(t *testing.T) {
	if _, err := load(write(t, "[networks.x]\nsubnet_v4 = \"none\"\nsubnet_v6 = \"none\""), noEnv); err != nil {
		t.Error(err)
	}
}

func TestUsersFileGoesOverTheHostsKeyByKey(t *testing.T) {
	files := write(t, `
[plugins.use]
hypervisor = "a"
network = "n"
[defaults]
cpus = 2
memory = "1G"
[networks.x]
mtu = 1400
`, `
[plugins.use]
hypervisor = "b"
[defaults]
cpus = 4
[networks.y]
mtu = 1300
`)
	c, err := load(append(files, "/nonexistent/config.toml"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.Plugins.Use[sdk.Hypervisor] != "b" || c.Plugins.Use[sdk.Network] != "n" || c.Defaults.CPUs != 4 || c.Defaults.Memory != 1<<30 ||
		c.Networks["x"].MTU != 1400 || c.Networks["y"].MTU != 1300 {
		t.Errorf("got %+v", c)
	}
}

func TestEnvironmentGoesOverFiles(t *testing.T) {
	env := map[string]string{"VZCTL_ROOT": "/env", "VZCTL_PLUGIN_PATH": "/a::/b"}
	c, err := load(write(t, `root = "/file"`), func(k string) string { return env[k] })
	if err != nil || c.Root != "/env" || !slices.Equal(c.Plugins.Path, []string{"/a", "/b"}) {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestMistakesAreToldWithTheirPlace(t *testing.T) {
	tests := []struct{ name, content, want string }{
		{"unknown key", "[defaults]\ncpu = 2", `unknown "defaults.cpu"`},
		{"two unknown keys", "a = 1\nb = 2", `unknown "a", "b"`},
		{"unknown key of a network", "[networks.x]\nmut = 2", `unknown "networks.x.mut"`},
		{"no TOML", "\nroot = ", "line 2"},
		{"wrong type", "[defaults]\ncpus = \"two\"", "incompatible types"},
		{"negative CPUs", "[defaults]\ncpus = -1", "out of range"},
		{"bad size", "[defaults]\nmemory = \"much\"", `"much" is not a size; write it as 512M or 2G`},
		{"unknown kind", "[plugins.use]\nhyperviser = \"x\"", `there is no kind "hyperviser"`},
		{"bad pin", "[plugins.sha256]\nx = \"abc\"", `the one of "x" is not 64 hexadecimal digits`},
		{"no time", `reserve = "long"`, `reserve: "long" is no time; use "10m", or "off"`},
		{"time that is over", `reserve = "-1s"`, `reserve: "-1s" is no time`},
		{"relative root", `root = "data"`, `root "data" is not an absolute path`},
		{"relative directory", "[plugins]\ndirs = [\"p\"]", `"p" is not an absolute path`},
		{"a network whose name leads elsewhere", "[networks.\"../../x\"]", `networks: "../../x" is no name`},
		{"a network whose name is that of no network", "[networks.none]", `networks: "none" is no name`},
		{"bad subnet", "[networks.x]\nsubnet_v4 = \"10.0.0.0\"", `networks.x: "10.0.0.0" is not a subnet`},
		{"bad gateway", "[networks.x]\ngateway_v4 = \"ten\"", `networks.x: "ten" is not an address`},
	}
	for _, test := range tests {
		files := write(t, test.content)
		_, err := load(files, noEnv)
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), `read config "`+files[0]) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", test.name, err)
		}
	}
}

func TestForHowLongASupervisorWaits(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 10 * time.Minute, `reserve = "90s"`: 90 * time.Second, `reserve = "off"`: 0} {
		c, err := load(write(t, text), noEnv)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ReserveTime(); got != want {
			t.Errorf("%q: %v, not %v", text, got, want)
		}
	}
}

func TestPlacesOfFiles(t *testing.T) {
	tests := []struct{ name, goos, home, xdg, want string }{
		{"user", "linux", "/home/u", "", "/home/u/.config/vzctl/config.toml"},
		{"XDG", "linux", "/home/u", "/c", "/c/vzctl/config.toml"},
		{"relative XDG", "linux", "/home/u", "c", "/home/u/.config/vzctl/config.toml"},
		{"Mac", "darwin", "/Users/u", "", "/Users/u/Library/Application Support/vzctl/config.toml"},
		{"no home", "linux", "", "", ""},
	}
	for _, test := range tests {
		want := []string{"/etc/vzctl/config.toml"}
		if test.want != "" {
			want = append(want, test.want)
		}
		if got := files(test.goos, test.home, func(string) string { return test.xdg }); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", test.name, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	tests := []struct {
		text  string
		want  Bytes
		text2 string
	}{
		{"0", 0, "0 B"}, {"1000", 1000, "1000 B"}, {"512m", 512 << 20, "512 MiB"}, {"2 GiB", 2 << 30, "2 GiB"},
		{"1536MB", 1536 << 20, "1536 MiB"}, {"1t", 1 << 40, "1 TiB"}, {"7b", 7, "7 B"},
	}
	for _, test := range tests {
		got, err := ParseBytes(test.text)
		if err != nil || got != test.want || got.String() != test.text2 {
			t.Errorf("%q: %d %q, %v", test.text, got, got, err)
		}
	}
	for _, bad := range []string{"", "m", "-1", "1.5g", "1x", "99999999999t", "0x10", "1 2m"} {
		if got, err := ParseBytes(bad); err == nil {
			t.Errorf("%q: %d", bad, got)
		}
	}
}
