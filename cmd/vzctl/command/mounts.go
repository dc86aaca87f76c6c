package command

import (
	"encoding/csv"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/store"
)

// mountFlags are those of run and create that say what a container finds from elsewhere, and how much it may write.
func mountFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "volume", Aliases: []string{"v"}, Usage: "`[SOURCE:]DIR[:OPTION,...]`: a path of the host or the name of a volume, and where the container finds it; may be repeated"},
		&cli.StringSliceFlag{Name: "mount", Usage: "`KEY=VALUE,...`: type=bind, volume or tmpfs, source, target, readonly; may be repeated"},
		&cli.StringFlag{Name: "storage-size", Usage: "`SIZE` of what the container can write to its own root (default: 16g)"},
		&cli.StringSliceFlag{Name: "storage-opt", Usage: "`KEY=VALUE` of what the container can write to: size=SIZE, or journal=ordered, writeback or journal; may be repeated"},
	}
}

// readMounts reads mountFlags. Tmpfs mounts join those of --tmpfs.
func readMounts(c *cli.Context, request *engine.CreateRequest) (err error) {
	for _, text := range c.StringSlice("volume") {
		m, err := parseVolume(text)
		if err != nil {
			return usage("--volume %q: %w", text, err)
		}
		request.Mounts = append(request.Mounts, m)
	}
	for _, text := range c.StringSlice("mount") {
		m, tmpfs, err := parseMount(text)
		switch {
		case err != nil:
			return usage("--mount %q: %w", text, err)
		case tmpfs != "":
			request.Isolation.Tmpfs = append(request.Isolation.Tmpfs, tmpfs)
		default:
			request.Mounts = append(request.Mounts, m)
		}
	}
	if request.StorageBytes, err = parseSize(c.String("storage-size")); err != nil {
		return usage("--storage-size %w", err)
	}
	return readStorage(c, request)
}

// readStorage reads --storage-opt.
func readStorage(c *cli.Context, request *engine.CreateRequest) error {
	options, err := keyValues("storage-opt", c.StringSlice("storage-opt"), false)
	if err != nil {
		return err
	}
	for key, value := range options {
		switch {
		case key == "size" && request.StorageBytes == 0:
			if request.StorageBytes, err = parseSize(value); err != nil {
				return usage("--storage-opt size: %w", err)
			}
		case key == "journal":
			request.Journal = value
		default:
			return usage("--storage-opt %s: use size=SIZE once, or journal=MODE", key)
		}
	}
	return nil
}

// parseVolume reads [SOURCE:]DIR[:OPTION,...]. A source with a slash, or that begins with a dot, is a path, made if it is missing, as with Docker.
func parseVolume(text string) (m engine.Mount, err error) {
	parts := strings.Split(text, ":")
	switch {
	case len(parts) > 3:
		return m, fmt.Errorf("it has too many colons; write --mount type=bind,source=PATH,target=DIR")
	case len(parts) == 1:
		m = engine.Mount{Type: store.MountVolume, Destination: parts[0]}
	case parts[0] == "" || parts[1] == "":
		return m, fmt.Errorf("write SOURCE:DIR, or DIR alone")
	default:
		if m, err = bindOrVolume(parts[0]); err != nil {
			return m, err
		}
		m.Destination, m.Create = parts[1], m.Type == store.MountBind
	}
	if len(parts) < 3 {
		return m, nil
	}
	for _, option := range strings.Split(parts[2], ",") {
		name, value, _ := strings.Cut(option, "=")
		switch {
		case option == "ro" || option == "readonly":
			m.ReadOnly = true
		case option == "nocopy" && m.Type == store.MountVolume:
			m.NoCopy = true
		case name == "ownership" && m.Type == store.MountBind:
			m.Ownership = value
		case name == "transport" && m.Type == store.MountBind:
			m.Transport = value
		case !meaningless(option):
			return m, fmt.Errorf("there is no option %q; use ro, rw, nocopy of a volume, or ownership=mapped or transport=virtiofs of a path", option)
		}
	}
	return m, nil
}

// meaningless says whether an option asks for what is so anyway, or for what only matters to containers that share the host's kernel.
func meaningless(option string) bool {
	switch option {
	case "rw", "z", "Z", "private", "rprivate", "consistent", "cached", "delegated":
		return true
	}
	return false
}

func bindOrVolume(source string) (engine.Mount, error) {
	if !strings.Contains(source, "/") && !strings.HasPrefix(source, ".") {
		return engine.Mount{Type: store.MountVolume, Source: source}, nil
	}
	path, err := filepath.Abs(source)
	return engine.Mount{Type: store.MountBind, Source: path}, err
}

// parseMount reads KEY=VALUE,... as Docker does. A tmpfs comes as the text of --tmpfs.
func parseMount(text string) (m engine.Mount, tmpfs string, err error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return m, "", err
	}
	kind := "volume"
	var of []string // options of a tmpfs
	for _, field := range fields {
		key, value, given := strings.Cut(field, "=")
		switch key = strings.ToLower(key); key {
		case "type":
			kind = value
		case "source", "src":
			m.Source = value
		case "target", "destination", "dst":
			m.Destination = value
		case "readonly", "ro":
			if m.ReadOnly, err = flagValue(value, given); err != nil {
				return m, "", fmt.Errorf("%s: %w", key, err)
			}
		case "volume-nocopy":
			if m.NoCopy, err = flagValue(value, given); err != nil {
				return m, "", fmt.Errorf("%s: %w", key, err)
			}
		case "ownership":
			m.Ownership = value
		case "transport":
			m.Transport = value
		case "tmpfs-size":
			size, err := parseSize(value)
			if err != nil {
				return m, "", fmt.Errorf("%s: %w", key, err)
			}
			of = append(of, "size="+strconv.FormatUint(size, 10))
		case "tmpfs-mode":
			of = append(of, "mode="+value)
		case "consistency", "bind-propagation":
			if !meaningless(value) {
				return m, "", fmt.Errorf("%s cannot be %q", key, value)
			}
		default:
			return m, "", fmt.Errorf("there is no %q; use type, source, target, readonly, ownership, transport, volume-nocopy, tmpfs-size or tmpfs-mode", key)
		}
	}
	switch {
	case m.Destination == "":
		return m, "", fmt.Errorf("target is missing")
	case m.Ownership != "" && kind != "bind":
		return m, "", fmt.Errorf("ownership is of type=bind alone")
	case m.Transport != "" && kind != "bind":
		return m, "", fmt.Errorf("transport is of type=bind alone")
	case m.NoCopy && kind != "volume":
		return m, "", fmt.Errorf("volume-nocopy is of type=volume alone")
	case len(of) > 0 && kind != "tmpfs":
		return m, "", fmt.Errorf("tmpfs-size and tmpfs-mode are of type=tmpfs alone")
	}
	switch kind {
	case "bind":
		if m.Source == "" {
			return m, "", fmt.Errorf("source is missing")
		}
		m.Type = store.MountBind
		m.Source, err = filepath.Abs(m.Source)
		return m, "", err
	case "volume":
		m.Type = store.MountVolume
		return m, "", nil
	case "tmpfs":
		if m.Source != "" || strings.Contains(m.Destination, ":") {
			return m, "", fmt.Errorf("a tmpfs has no source, and no colon in its target")
		}
		if m.ReadOnly {
			of = append(of, "ro")
		}
		return m, m.Destination + ":" + strings.Join(of, ","), nil
	}
	return m, "", fmt.Errorf("there is no type %q; use bind, volume or tmpfs", kind)
}

func flagValue(value string, given bool) (bool, error) {
	if !given {
		return true, nil
	}
	return strconv.ParseBool(value)
}
