package command

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/core/seccomp"
	"github.com/vzctl/vzctl/core/store"
)

// isolationFlags are those of run and create that say what the processes may do and see.
func isolationFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "cap-add", Usage: "grant the capability `NAME`, or ALL; may be repeated"},
		&cli.StringSliceFlag{Name: "cap-drop", Usage: "take away the capability `NAME`, or ALL; may be repeated"},
		&cli.BoolFlag{Name: "privileged", Usage: "grant all capabilities, system calls and devices of the VM, and protect no path"},
		&cli.StringSliceFlag{Name: "security-opt", Usage: "`OPTION`: no-new-privileges, seccomp=FILE or seccomp=unconfined; may be repeated"},
		&cli.StringSliceFlag{Name: "ulimit", Usage: "`TYPE=SOFT[:HARD]` limit of each process, like nofile=1024:4096; -1 is unlimited; may be repeated"},
		&cli.StringSliceFlag{Name: "sysctl", Usage: "`NAME=VALUE` of a kernel setting of the container's own; may be repeated"},
		&cli.StringSliceFlag{Name: "uidmap", Usage: "`CONTAINER:VM:SIZE`: in a user namespace of its own users from CONTAINER on are the VM's from VM on; of groups, too, without --gidmap; may be repeated"},
		&cli.StringSliceFlag{Name: "gidmap", Usage: "`CONTAINER:VM:SIZE` of groups; may be repeated"},
		&cli.StringFlag{Name: "userns", Usage: "`auto`: a user namespace with the map " + runtimespec.AutoIDMap},
		&cli.StringSliceFlag{Name: "group-add", Usage: "`GROUP` that the processes are in too, name or number; may be repeated"},
		&cli.IntFlag{Name: "oom-score-adj", Usage: "`NUMBER` from -1000 to 1000: which process goes first when memory is short"},
		&cli.StringFlag{Name: "shm-size", Usage: "`SIZE` of /dev/shm (default: 64m)"},
		&cli.StringSliceFlag{Name: "tmpfs", Usage: "`DIR[:OPTION,...]` in memory; may be repeated"},
		&cli.BoolFlag{Name: "init", Usage: "have an init process that hands on signals and reaps orphans"},
		&cli.StringSliceFlag{Name: "add-host", Usage: "`NAME:IP` in /etc/hosts; may be repeated"},
		&cli.StringSliceFlag{Name: "dns", Usage: "`IP` of a name server in place of the network's; may be repeated"},
		&cli.StringSliceFlag{Name: "dns-search", Usage: "`DOMAIN` that names are looked up in; may be repeated"},
		&cli.StringSliceFlag{Name: "dns-option", Usage: "`OPTION` of resolv.conf, like ndots:2; may be repeated"},
		pidsLimitFlag(), cpuSharesFlag(), cpuSetFlag(), memorySwapFlag(),
	}
}

func pidsLimitFlag() cli.Flag {
	return &cli.Int64Flag{Name: "pids-limit", Usage: "`NUMBER` of processes and threads at most; -1 is unlimited"}
}

func cpuSharesFlag() cli.Flag {
	return &cli.Uint64Flag{Name: "cpu-shares", Usage: "`WEIGHT` from 2 to 262144 against other containers of its VM"}
}

func cpuSetFlag() cli.Flag {
	return &cli.StringFlag{Name: "cpuset-cpus", Usage: "`LIST` of the VM's CPUs that the processes may use, like 0-2,5"}
}

func memorySwapFlag() cli.Flag {
	return &cli.StringFlag{Name: "memory-swap", Usage: "`SIZE` of memory and swap together; -1 is unlimited"}
}

// readIsolation reads isolationFlags.
func readIsolation(c *cli.Context, request *engine.CreateRequest) (err error) {
	request.Isolation = runtimespec.Isolation{
		Privileged: c.Bool("privileged"), CapAdd: given(c, "cap-add"), CapDrop: given(c, "cap-drop"), Ulimits: given(c, "ulimit"),
		Groups: given(c, "group-add"), Tmpfs: given(c, "tmpfs"), PidsLimit: c.Int64("pids-limit"), CPUShares: c.Uint64("cpu-shares"),
		CPUSet: c.String("cpuset-cpus"), UIDMap: given(c, "uidmap"), GIDMap: given(c, "gidmap"),
	}
	if err := readUserNamespace(c.String("userns"), &request.Isolation); err != nil {
		return err
	}
	request.Init = c.Bool("init")
	i := &request.Isolation
	if c.IsSet("oom-score-adj") {
		score := c.Int("oom-score-adj")
		i.OOMScoreAdj = &score
	}
	if i.Sysctls, err = keyValues("sysctl", c.StringSlice("sysctl"), false); err != nil {
		return err
	}
	if i.ShmBytes, err = parseSize(c.String("shm-size")); err != nil {
		return usage("--shm-size %w", err)
	}
	if i.MemorySwap, err = parseSwap(c.String("memory-swap")); err != nil {
		return usage("--memory-swap %w", err)
	}
	if request.Names, err = readNames(c); err != nil {
		return err
	}
	return readSecurity(c.StringSlice("security-opt"), request)
}

// readUserNamespace reads --userns.
func readUserNamespace(text string, i *runtimespec.Isolation) error {
	switch {
	case text == "":
	case text != "auto":
		return usage("--userns %q: use auto, or say the map with --uidmap", text)
	case len(i.UIDMap)+len(i.GIDMap) > 0:
		return usage("--userns auto: --uidmap and --gidmap say the map already")
	default:
		i.UIDMap = []string{runtimespec.AutoIDMap}
	}
	return nil
}

// given returns the values of a flag, nil if there are none.
func given(c *cli.Context, flag string) []string {
	if values := c.StringSlice(flag); len(values) > 0 {
		return values
	}
	return nil
}

func parseSwap(text string) (int64, error) {
	if text == "-1" {
		return -1, nil
	}
	size, err := parseSize(text)
	return int64(size), err
}

// readSecurity reads --security-opt; "NAME:VALUE" is its old form.
func readSecurity(options []string, request *engine.CreateRequest) error {
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		switch {
		case name == "no-new-privileges":
			if value == "" {
				value = "true"
			}
			on, err := strconv.ParseBool(value)
			if err != nil {
				return usage("--security-opt %q: use no-new-privileges, with =true or =false", option)
			}
			request.Isolation.NoNewPrivileges = on
		case name == "seccomp" && value == "unconfined":
			request.SeccompUnconfined, request.SeccompProfile = true, nil
		case name == "seccomp" && value != "":
			profile, err := readProfile(value)
			if err != nil {
				return usage("--security-opt seccomp: %w", err)
			}
			request.SeccompUnconfined, request.SeccompProfile = false, profile
		default:
			return usage("--security-opt %q: use no-new-privileges, seccomp=FILE or seccomp=unconfined", option)
		}
	}
	return nil
}

func readProfile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > seccomp.MaxProfile {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, seccomp.MaxProfile)
	}
	return os.ReadFile(path)
}

// readNames reads what says how names are looked up.
func readNames(c *cli.Context) (names store.Names, err error) {
	for _, text := range c.StringSlice("add-host") {
		name, address, _ := strings.Cut(text, ":")
		ip, err := netip.ParseAddr(strings.Trim(address, "[]"))
		if err != nil || !word(name) {
			return names, usage("--add-host %q: write NAME:IP", text)
		}
		names.Hosts = append(names.Hosts, store.Host{Name: name, Address: ip})
	}
	for _, text := range c.StringSlice("dns") {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return names, usage("--dns %q: it is not an IP address", text)
		}
		names.DNS = append(names.DNS, ip)
	}
	for flag, into := range map[string]*[]string{"dns-search": &names.DNSSearch, "dns-option": &names.DNSOptions} {
		*into = given(c, flag)
		for _, text := range *into {
			if !word(text) {
				return names, usage("--%s %q: it cannot be part of resolv.conf", flag, text)
			}
		}
	}
	return names, nil
}

// word says whether a text can be a field of /etc/hosts or resolv.conf.
func word(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '#' || r == ';' || r > '~' })
}
