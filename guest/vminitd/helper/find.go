package helper

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

// defaultPath is PATH where the environment has none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// opExecute marks errors about the executable, see StartProcess in agent.proto.
const opExecute = "execute"

func lookupEnv(env []string, name string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// find looks for a program in the container's own PATH, with the rights of the user it will run as.
func find(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // execve says what is wrong with it
	}
	var denied error
	for _, dir := range strings.Split(lookupEnv(env, "PATH"), ":") {
		if dir == "" {
			dir = "."
		}
		candidate := dir + "/" + name // not path.Join: a name in the working directory keeps its "./"
		if path.IsAbs(dir) {
			candidate = path.Join(dir, name)
		}
		switch err := executable(candidate); {
		case err == nil:
			return candidate, nil
		case errors.Is(err, unix.EACCES):
			denied = err
		}
	}
	if denied != nil {
		return "", executeError(name, denied)
	}
	return "", &failure.Error{Reason: failure.NotFound, Op: opExecute, Subject: name, Cause: errors.New("executable file not found in PATH")}
}

func executable(path string) error {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}

// executeError says why execve(2) refused a program.
func executeError(name string, err error) error {
	e := &failure.Error{Reason: failure.Invalid, Op: opExecute, Subject: name, Cause: err}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		e.Reason, e.Cause = failure.NotFound, errors.New("no such file, or its interpreter is missing")
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		e.Reason = failure.PermissionDenied
	case errors.Is(err, unix.ENOEXEC):
		e.Cause = errors.New("exec format error")
		e.Hint = "is it a program of this architecture, or a script without its #! line?"
	}
	return e
}
