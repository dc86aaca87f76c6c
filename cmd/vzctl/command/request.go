package command

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk"
)

// createFlags are those of run and create: what makes an engine.CreateRequest.
func createFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the container"},
		&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "keep stdin open and connect it"},
		&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the process a terminal"},
		&cli.BoolFlag{Name: "rm", Usage: "remove the container when it has stopped"},
		restartFlag(),
		envFlag(), envFileFlag(), workdirFlag(), userFlag(),
		&cli.StringFlag{Name: "entrypoint", Usage: "`PROGRAM` instead of the image's entry point; empty for none"},
		cpusFlag(), memoryFlag(),
		&cli.StringFlag{Name: "hostname", Usage: "`NAME` the container has for itself"},
		platformFlag(),
		&cli.StringFlag{Name: "pull", Value: string(engine.PullMissing), Usage: "`WHEN` to fetch the image: missing, always or never"},
		networkFlag(), kernelFlag(),
		&cli.StringFlag{Name: "stop-signal", Usage: "`NAME` or number that asks the process to end (default: the image's, or SIGTERM)"},
		&cli.IntFlag{Name: "stop-timeout", Usage: "`SECONDS` the process has to end when it is asked to", DefaultText: "10"},
		&cli.BoolFlag{Name: "read-only", Usage: "the root file system cannot be written"},
		&cli.StringSliceFlag{Name: "label", Aliases: []string{"l"}, Usage: "`KEY=VALUE` kept with the container; may be repeated"},
		&cli.StringFlag{Name: "cidfile", Usage: "write the id to `FILE`, which must not exist"},
		logOptFlag(),
		hypervisorFlag(), hypervisorOptFlag(),
		&cli.BoolFlag{Name: "nested", Aliases: []string{"virtualization"}, Usage: "have the container be able to run virtual machines itself, if the hypervisor plugin offers that"},
		imageSourceFlag(),
		pluginFlag(),
	}, slices.Concat(mountFlags(), ioFlags(), isolationFlags(), healthFlags(), socketFlags())...)
}

// shapeFlags are those that decide what the VM of a container looks like.
func shapeFlags() []cli.Flag {
	return []cli.Flag{cpusFlag(), memoryFlag(), platformFlag(), networkFlag(), kernelFlag(), hypervisorFlag(), hypervisorOptFlag(), pluginFlag()}
}

func cpusFlag() cli.Flag {
	return &cli.StringFlag{Name: "cpus", Usage: "`NUMBER` of CPUs that the processes may use; the VM has as many, rounded up"}
}

func memoryFlag() cli.Flag {
	return &cli.StringFlag{Name: "memory", Aliases: []string{"m"}, Usage: "`SIZE` of the VM's memory, like 512m or 1g"}
}

func networkFlag() cli.Flag {
	return &cli.StringFlag{Name: "network", Aliases: []string{"net"}, Usage: "`NAME` of a network, or none"}
}

func kernelFlag() cli.Flag {
	return &cli.StringFlag{Name: "kernel", Usage: "`NAME|PATH` of the guest's kernel"}
}

func hypervisorFlag() cli.Flag {
	return &cli.StringFlag{Name: "hypervisor", Usage: "`NAME|PATH` of the plugin that runs the VM"}
}

func hypervisorOptFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "hypervisor-opt", Usage: "`KEY=VALUE` for the hypervisor plugin, like accelerator=tcg; may be repeated"}
}

func pluginFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "plugin", Usage: "`KIND=NAME|PATH` of any other plugin; may be repeated"}
}

func envFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "`NAME[=VALUE]` for the process; without a value, vzctl's own; may be repeated"}
}

func envFileFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "env-file", Usage: "`FILE` of NAME=VALUE lines; may be repeated"}
}

func workdirFlag() cli.Flag {
	return &cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "`DIR` the process begins in"}
}

func userFlag() cli.Flag {
	return &cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "`USER[:GROUP]` of the process, names or numbers"}
}

func platformFlag() cli.Flag {
	return &cli.StringFlag{Name: "platform", Usage: "`OS/ARCH` of the image, like linux/arm64"}
}

func imageSourceFlag() cli.Flag {
	return &cli.StringFlag{Name: "image-source", Usage: "`NAME|PATH` of the plugin that fetches images"}
}

// createRequest reads flags and arguments of run and create.
func (p *program) createRequest(c *cli.Context) (engine.CreateRequest, error) {
	if err := arguments(c, 1, -1, "an image"); err != nil {
		return engine.CreateRequest{}, err
	}
	request := engine.CreateRequest{
		Name:       c.String("name"),
		Image:      c.Args().First(),
		Command:    c.Args().Tail(),
		WorkingDir: c.String("workdir"),
		User:       c.String("user"),
		Hostname:   c.String("hostname"),
		Terminal:   c.Bool("tty"),
		StdinOpen:  c.Bool("interactive"),
		Pull:       engine.PullPolicy(c.String("pull")),
		ReadOnly:   c.Bool("read-only"),
		AutoRemove: c.Bool("rm"),
		StopSignal: c.String("stop-signal"),
		Restart:    c.String("restart"),
		Nested:     c.Bool("nested"),
	}
	if len(request.Command) == 0 {
		request.Command = nil
	}
	if c.IsSet("entrypoint") {
		request.Entrypoint = []string{}
		if program := c.String("entrypoint"); program != "" {
			request.Entrypoint = []string{program}
		}
	}
	if !slices.Contains([]engine.PullPolicy{engine.PullMissing, engine.PullAlways, engine.PullNever}, request.Pull) {
		return request, usage("--pull %q: use missing, always or never", request.Pull)
	}
	var err error
	if request.StopSeconds, err = readSeconds(c, "stop-timeout"); err != nil {
		return request, err
	}
	if request.Env, err = p.environment(c); err != nil {
		return request, err
	}
	if request.Labels, err = keyValues("label", c.StringSlice("label"), true); err != nil {
		return request, err
	}
	if err := readHealth(c, &request); err != nil {
		return request, err
	}
	if request.Log, err = readLogOptions(c); err != nil {
		return request, err
	}
	if err := readSockets(c, &request); err != nil {
		return request, err
	}
	if err := readIsolation(c, &request); err != nil {
		return request, err
	}
	if err := readMounts(c, &request); err != nil {
		return request, err
	}
	if request.IOLimits, err = readIO(c); err != nil {
		return request, err
	}
	return request, readShape(c, &request)
}

// readShape reads shapeFlags.
func readShape(c *cli.Context, request *engine.CreateRequest) (err error) {
	request.Platform, request.Network, request.Kernel = c.String("platform"), c.String("network"), c.String("kernel")
	if request.CPUs, request.Isolation.CPUThousandths, err = parseCPUs(c.String("cpus")); err != nil {
		return usage("--cpus %w", err)
	}
	if request.MemoryBytes, err = parseSize(c.String("memory")); err != nil {
		return usage("--memory %w", err)
	}
	if request.HypervisorOptions, err = keyValues("hypervisor-opt", c.StringSlice("hypervisor-opt"), false); err != nil {
		return err
	}
	request.Plugins, err = chosenPlugins(c)
	return err
}

func chosenPlugins(c *cli.Context) (map[sdk.Kind]string, error) {
	chosen := map[sdk.Kind]string{}
	named, err := keyValues("plugin", c.StringSlice("plugin"), false)
	if err != nil {
		return nil, err
	}
	for kind, name := range named {
		if !slices.Contains(sdk.Kinds(), sdk.Kind(kind)) {
			return nil, usage("--plugin %q: no such kind; use one of %v", kind, sdk.Kinds())
		}
		chosen[sdk.Kind(kind)] = name
	}
	for flag, kind := range map[string]sdk.Kind{"hypervisor": sdk.Hypervisor, "image-source": sdk.ImageSource} {
		if name := c.String(flag); name != "" {
			chosen[kind] = name
		}
	}
	if len(chosen) == 0 {
		return nil, nil
	}
	return chosen, nil
}

// environment is that of --env-file and --env. A name without a value takes it from vzctl's own environment, or is left out.
func (p *program) environment(c *cli.Context) ([]string, error) {
	var env []string
	add := func(entry string) error {
		name, _, given := strings.Cut(entry, "=")
		if name == "" {
			return usage("environment %q: a name is missing", entry)
		}
		if !given {
			value, ok := p.LookupEnv(name)
			if !ok {
				return nil
			}
			entry = name + "=" + value
		}
		env = append(env, entry)
		return nil
	}
	for _, file := range c.StringSlice("env-file") {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, usage("--env-file: %w", err)
		}
		lines := bufio.NewScanner(bytes.NewReader(content))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			entry := strings.TrimLeft(lines.Text(), " \t")
			if entry == "" || entry[0] == '#' {
				continue
			}
			if err := add(entry); err != nil {
				return nil, err
			}
		}
		if err := lines.Err(); err != nil {
			return nil, usage("--env-file %s: %w", file, err)
		}
	}
	for _, entry := range c.StringSlice("env") {
		if err := add(entry); err != nil {
			return nil, err
		}
	}
	return env, nil
}

func keyValues(flag string, entries []string, bare bool) (map[string]string, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	values := map[string]string{}
	for _, entry := range entries {
		key, value, given := strings.Cut(entry, "=")
		if key == "" || !given && !bare {
			return nil, usage("--%s %q: write KEY=VALUE", flag, entry)
		}
		values[key] = value
	}
	return values, nil
}

// parseCPUs reads how many CPUs a container may use. A VM has no half ones: cpus is how many it has, and thousandths how much of them that is; 0 is all.
func parseCPUs(text string) (cpus, thousandths uint32, err error) {
	if text == "" {
		return 0, 0, nil
	}
	const most = math.MaxUint32 / 1000
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 0.01 && n <= most) {
		return 0, 0, fmt.Errorf("%q: use a number from 0.01", text)
	}
	if n == math.Trunc(n) {
		return uint32(n), 0, nil
	}
	return uint32(math.Ceil(n)), uint32(math.Round(n * 1000)), nil
}

// parseSize reads "512m", "1.5g", "64MiB" or bytes; units are powers of 1024. Empty is 0.
func parseSize(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	wrong := fmt.Errorf("%q: use a size like 512m or 1g", text)
	digits := strings.TrimRight(strings.ToLower(text), "bkmgti")
	unit := strings.ToLower(text)[len(digits):]
	shift, ok := map[string]uint{
		"": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20, "g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40,
	}[unit]
	if !ok || digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, wrong
	}
	n, err := strconv.ParseFloat(digits, 64)
	if bytes := n * float64(uint64(1)<<shift); err == nil && bytes >= 1 && bytes < 1<<63 {
		return uint64(bytes), nil
	}
	return 0, wrong
}
