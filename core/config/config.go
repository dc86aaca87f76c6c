// Package config reads config.toml: which plugins serve, what a container gets if nobody says otherwise, how networks are set up. It checks
// what it can without asking a plugin. Flags are the command line's business, state the store's.
//
// The host's file (/etc/vzctl/config.toml) is read first, then the user's over it, key by key.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// Config is what the files and the environment say.
type Config struct {
	// Root is where containers are kept; empty: the platform's place.
	Root     string             `toml:"root"`
	Plugins  Plugins            `toml:"plugins"`
	Defaults Defaults           `toml:"defaults"`
	Networks map[string]Network `toml:"networks"`
	// Reserve is for how long a supervisor waits for the next container, as "10m", or "off". See ReserveTime.
	Reserve string `toml:"reserve"`
}

// What Reserve is if nobody says otherwise, and what turns it off.
const (
	defaultReserve = 10 * time.Minute
	noReserve      = "off"
)

// ReserveTime is for how long a supervisor that was made ahead waits for the next container; 0: none is made.
func (c *Config) ReserveTime() time.Duration {
	if c.Reserve == "" {
		return defaultReserve
	}
	d, _ := time.ParseDuration(c.Reserve) // it was checked, and of "off" this is 0
	return d
}

// Plugins says where plugins are and which of them serve.
type Plugins struct {
	// Dirs are searched after the built-in directory; of two plugins with one name the later serves.
	Dirs []string `toml:"dirs"`
	// Use names the plugin of a kind, or gives its path.
	Use map[sdk.Kind]string `toml:"use"`
	// SHA256 pins plugins, by name or path, to 64 hexadecimal digits. One with another digest is not started.
	SHA256 map[string]string `toml:"sha256"`
	// Path has the directories of VZCTL_PLUGIN_PATH, which come last.
	Path []string `toml:"-"`
}

// Defaults of containers. Zero values leave the choice to the program.
type Defaults struct {
	CPUs     uint32 `toml:"cpus"`
	Memory   Bytes  `toml:"memory"`
	Disk     Bytes  `toml:"disk"` // size of the writable layer, and of volumes
	Network  string `toml:"network"`
	Kernel   string `toml:"kernel"`   // a name or a path
	Platform string `toml:"platform"` // "linux/arm64"
	// LogMaxSize bounds one file of a container's log, LogMaxFiles how many there are.
	LogMaxSize  Bytes  `toml:"log_max_size"`
	LogMaxFiles uint32 `toml:"log_max_files"`
	// MountTransport is by what directories of the host are shared, "9p" or "virtiofs", where a mount does not say.
	MountTransport string `toml:"mount_transport"`
	// HypervisorOptions go to the hypervisor plugin as they are.
	HypervisorOptions map[string]string `toml:"hypervisor_options"`
}

// Network says how a network is made.
type Network struct {
	Plugin            string            `toml:"plugin"` // empty: the one of Plugins.Use
	SubnetV4          string            `toml:"subnet_v4"`
	SubnetV6          string            `toml:"subnet_v6"`
	GatewayV4         string            `toml:"gateway_v4"`
	GatewayV6         string            `toml:"gateway_v6"`
	MTU               uint32            `toml:"mtu"`
	Internal          bool              `toml:"internal"`
	AllowHostLoopback bool              `toml:"allow_host_loopback"`
	AllowLAN          bool              `toml:"allow_lan"`
	Options           map[string]string `toml:"options"` // go to the network plugin as they are
}

// Load reads the files at their places on this host, and the environment.
func Load() (*Config, error) {
	home, _ := os.UserHomeDir() // without one there is no user's file
	return load(files(runtime.GOOS, home, os.Getenv), os.Getenv)
}

// files in the order in which they are read.
func files(goos, home string, env func(string) string) []string {
	all := []string{"/etc/vzctl/config.toml"}
	switch dir := env("XDG_CONFIG_HOME"); {
	case filepath.IsAbs(dir): // the specification ignores relative ones
		all = append(all, filepath.Join(dir, "vzctl", "config.toml"))
	case goos == "darwin" && home != "":
		all = append(all, filepath.Join(home, "Library", "Application Support", "vzctl", "config.toml"))
	case home != "":
		all = append(all, filepath.Join(home, ".config", "vzctl", "config.toml"))
	}
	return all
}

func load(files []string, env func(string) string) (*Config, error) {
	c := new(Config)
	for _, file := range files {
		if err := c.read(file); err != nil {
			return nil, &fault.Error{Reason: fault.Invalid, Op: "read config", Subject: file, Cause: err}
		}
	}
	if root := env("VZCTL_ROOT"); root != "" {
		c.Root = root
	}
	for _, dir := range filepath.SplitList(env("VZCTL_PLUGIN_PATH")) {
		if dir != "" {
			c.Plugins.Path = append(c.Plugins.Path, dir)
		}
	}
	return c, nil
}

// read a file over what is there. A file that is missing says nothing.
func (c *Config) read(path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return errors.Unwrap(err) // the path is told by the caller
	}
	meta, err := toml.Decode(string(content), c)
	if err != nil {
		if e, ok := errors.AsType[toml.ParseError](err); ok {
			return fmt.Errorf("line %d: %s", e.Position.Line, strings.TrimSpace(e.Message))
		}
		return err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		var keys []string
		for _, k := range unknown {
			keys = append(keys, fmt.Sprintf("%q", k.String()))
		}
		return fmt.Errorf("unknown %s", strings.Join(keys, ", "))
	}
	return c.check()
}

var label = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) })

func (c *Config) check() error {
	if c.Root != "" && !filepath.IsAbs(c.Root) {
		return fmt.Errorf("root %q is not an absolute path", c.Root)
	}
	for _, dir := range c.Plugins.Dirs {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("plugins.dirs: %q is not an absolute path", dir)
		}
	}
	for kind := range c.Plugins.Use {
		if !slices.Contains(sdk.Kinds(), kind) {
			return fmt.Errorf("plugins.use: there is no kind %q, the kinds are %v", kind, sdk.Kinds())
		}
	}
	for plugin, sum := range c.Plugins.SHA256 {
		if len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
			return fmt.Errorf("plugins.sha256: the one of %q is not 64 hexadecimal digits in lower case", plugin)
		}
	}
	if t := c.Defaults.MountTransport; t != "" && t != hypervisor.Share9P && t != hypervisor.ShareVirtioFS {
		return fmt.Errorf("defaults.mount_transport: there is no %q, use %q or %q", t, hypervisor.Share9P, hypervisor.ShareVirtioFS)
	}
	if d, err := time.ParseDuration(c.Reserve); c.Reserve != "" && c.Reserve != noReserve && (err != nil || d <= 0) {
		return fmt.Errorf("reserve: %q is no time; use \"10m\", or %q", c.Reserve, noReserve)
	}
	for name, n := range c.Networks {
		// It becomes a directory's name, and a part of names that containers look up. "none" is what --network has for no network.
		if !label().MatchString(name) || name == "none" {
			return fmt.Errorf("networks: %q is no name for a network; use lower case letters, digits and '-'", name)
		}
		if err := n.check(); err != nil {
			return fmt.Errorf("networks.%s: %w", name, err)
		}
	}
	return nil
}

// noSubnet turns a family of addresses off.
const noSubnet = "none"

func (n Network) check() error {
	for _, subnet := range []string{n.SubnetV4, n.SubnetV6} {
		if _, err := netip.ParsePrefix(subnet); subnet != "" && subnet != noSubnet && err != nil {
			return fmt.Errorf("%q is not a subnet", subnet)
		}
	}
	for _, gateway := range []string{n.GatewayV4, n.GatewayV6} {
		if _, err := netip.ParseAddr(gateway); gateway != "" && err != nil {
			return fmt.Errorf("%q is not an address", gateway)
		}
	}
	return nil
}
