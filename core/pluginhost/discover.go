package pluginhost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Plugin is a file that was found, under its file name. Only Info, from starting it, tells its kind.
type Plugin struct {
	Name string
	Path string
	// Err is why it is not started: others could change it, say.
	Err error
}

// BuiltinDir returns where the plugins that belong to an executable are: <its directory>/../libexec/vzctl/plugins, links followed.
func BuiltinDir(executable string) (string, error) {
	real, err := filepath.EvalSymlinks(executable)
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(filepath.Dir(real)), "libexec", "vzctl", "plugins"), nil
}

// Discover returns the plugins in the directories, by name. Of several with one name the last serves. A directory that is missing is empty.
func Discover(dirs []string) ([]Plugin, error) {
	found := map[string]Plugin{}
	for _, dir := range dirs {
		dir, err := filepath.Abs(dir) // VZCTL_PLUGIN_PATH may be relative
		if err != nil {
			return nil, err
		}
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &fault.Error{Reason: fault.FailedPrecondition, Op: "look for plugins in", Subject: dir, Cause: bare(err),
				Hint: "take it out of plugins.dirs or VZCTL_PLUGIN_PATH"}
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			info, err := os.Stat(path)
			if strings.HasPrefix(e.Name(), ".") || err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
				continue // a licence, a library
			}
			found[e.Name()] = Plugin{Name: e.Name(), Path: path, Err: trust(path)}
		}
	}
	var all []Plugin
	for _, p := range found {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Plugin) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// at returns the plugin at a path that the user gave.
func at(path string) (Plugin, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Plugin{}, err
	}
	p := Plugin{Name: filepath.Base(abs), Path: abs}
	refuse := func(reason fault.Reason, cause string) (Plugin, error) {
		return p, &fault.Error{Reason: reason, Op: "use plugin", Subject: abs, Cause: errors.New(cause)}
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse(fault.NotFound, "there is no such file")
	case err != nil:
		return refuse(fault.FailedPrecondition, bare(err).Error())
	case !info.Mode().IsRegular():
		return refuse(fault.Invalid, "it is not a file")
	case info.Mode()&0o111 == 0:
		return refuse(fault.Invalid, "it is not executable")
	}
	p.Err = trust(abs)
	return p, nil
}

// trust refuses a plugin that someone else than root or the user can change: the file, its directory, or that of a link to it.
func trust(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for _, p := range []string{real, filepath.Dir(real), filepath.Dir(path)} {
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		var cause error
		hint := "chown it"
		switch {
		case !ok:
			cause = errors.New("its owner is unknown")
		case stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
			cause = fmt.Errorf("%q belongs to user %d, who could change it", p, stat.Uid)
		case info.Mode()&0o002 != 0 && !(info.IsDir() && info.Mode()&fs.ModeSticky != 0):
			cause, hint = fmt.Errorf("anyone can change %q", p), fmt.Sprintf("chmod o-w %q", p)
		default:
			continue
		}
		return &fault.Error{Reason: fault.PermissionDenied, Op: "use plugin", Subject: path, Cause: cause, Hint: hint}
	}
	return nil
}

func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
