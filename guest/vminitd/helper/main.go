package helper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
	"github.com/vzctl/vzctl/guest/vminitd/sysmon"
)

// Descriptors that Start leaves.
const (
	socketFD = 3
	joinFD   = 4 // the process whose namespaces are joined; not of a first process
)

// See the package comment for why this is an init function.
func init() {
	if len(os.Args) > 0 && os.Args[0] == Name {
		run()
	}
	if len(os.Args) > 1 && os.Args[0] == supervisorName {
		supervise()
	}
}

// run is the helper's program. It does not return.
func run() {
	// Namespaces, identity and privileges are a thread's own in Linux, and the thread that executes is the one that counts.
	runtime.LockOSThread()
	unix.CloseOnExec(socketFD)
	socket := os.NewFile(socketFD, "launch")
	_ = sysmon.Slow() // without it all takes longer, no more
	err := become(socket)
	if _, writeErr := socket.Write(encodeError(err)); writeErr != nil {
		fmt.Fprintln(os.Stderr, Name+":", errors.Join(err, writeErr))
	}
	os.Exit(1)
}

// become makes the container's process of this one, or says why it cannot.
func become(socket *os.File) error {
	config, fds, staged, err := awaitConfig(socket)
	if err != nil {
		return fmt.Errorf("receive the configuration: %w", err)
	}
	// Nobody in the container may look into the helper, which still sees the machine.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("begin a session: %w", err)
	}
	program := -1
	if config.Supervised {
		if program, err = unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
	}
	stdio, handed := fds[:config.streams()], fds[config.streams():]
	switch {
	case config.IDs != nil && config.Init != nil:
		err = buildRootHanded(config.Init, handed, config.Process.Cwd)
	case config.Init != nil:
		err = buildRoot(config.Init, staged, config.Process.Cwd)
	case config.IDs == nil:
		err = join()
	}
	if err != nil {
		return err
	}
	p := config.Process
	user, err := lookUp(func(path string) (io.ReadCloser, error) { return openDatabase(own, path) }, config.User, config.Groups, p.User)
	if err != nil {
		return err
	}
	if err := user.check(config.User, config.IDs); err != nil {
		return err
	}
	if p.Terminal {
		stdio, err = openTerminal(socket, p.ConsoleSize, user.uid, config.Init != nil)
	} else {
		err = chownStdio(stdio, user.uid)
	}
	if err != nil {
		return err
	}
	if config.Init != nil {
		if err := ownFiles(config.Init.Files, user); err != nil {
			return err
		}
		if err := sealRoot(config.Init); err != nil {
			return err
		}
	}
	if err := enter(p.Cwd); err != nil {
		return err
	}
	for i, fd := range stdio {
		if err := unix.Dup3(fd, i, 0); err != nil {
			return err
		}
	}
	if err := limit(p, user, config.Filters); err != nil {
		return err
	}
	if config.Supervised {
		return executeSupervisor(program, p.Args, environment(p, user.home))
	}
	return execute(socket, p.Args, environment(p, user.home))
}

// awaitConfig waits for a configuration that is not a rehearsal, and returns with it what has been staged until then.
func awaitConfig(socket *os.File) (config *Config, fds []int, staged []prepared, err error) {
	for {
		config, fds, err = receiveConfig(socket)
		if err != nil || !config.Rehearsal {
			return config, fds, staged, err
		}
		if config.Init != nil && staged == nil {
			if staged, err = stage(config.Init); err != nil {
				return nil, nil, nil, fmt.Errorf("stage: %w", err)
			}
		}
		if _, err := socket.Write([]byte{MessageReady}); err != nil {
			return nil, nil, nil, err
		}
	}
}

func receiveConfig(socket *os.File) (*Config, []int, error) {
	length := make([]byte, 4)
	rights := make([]byte, unix.CmsgSpace(MaxDescriptors*4))
	n, rightsLength, _, _, err := unix.Recvmsg(socketFD, length, rights, unix.MSG_CMSG_CLOEXEC|unix.MSG_WAITALL)
	if err != nil {
		return nil, nil, err
	}
	size := binary.BigEndian.Uint32(length)
	if n != len(length) || size > MaxConfig {
		return nil, nil, io.ErrUnexpectedEOF
	}
	fds, err := Descriptors(rights[:rightsLength])
	if err != nil {
		return nil, nil, err
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(socket, text); err != nil {
		return nil, nil, err
	}
	config, err := decodeConfig(text)
	if err != nil {
		return nil, nil, err
	}
	if err := config.readPrograms(socket); err != nil {
		return nil, nil, err
	}
	if config.Process == nil {
		return nil, nil, errPacked
	}
	if !config.Rehearsal && len(fds) != config.streams()+config.handed() {
		return nil, nil, fmt.Errorf("%d descriptors", len(fds))
	}
	return config, fds, nil
}

// streams is how many descriptors of streams come with a configuration, before all others.
func (c *Config) streams() int {
	if c.Process.Terminal {
		return 0
	}
	return 3
}

// Joined are the namespaces of a container that a further process enters, as CLONE_NEW* flags.
const Joined = unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWNET

// join enters the namespaces of the container's first process. Of its pid namespace the helper is a member already.
func join() error {
	unix.CloseOnExec(joinFD)
	// The kernel gives a mount namespace only to who shares root and working directory with no other thread.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(joinFD, Joined); err != nil {
		return &failure.Error{Reason: failure.FailedPrecondition, Op: "join the container", Cause: err}
	}
	return nil
}

// chownStdio lets the user open /dev/stdout and its like anew.
func chownStdio(stdio []int, uid int) error {
	for _, fd := range stdio {
		if err := unix.Fchown(fd, uid, -1); err != nil {
			return fmt.Errorf("give the user its streams: %w", err)
		}
	}
	return nil
}

// ownFiles gives the user what is to be the user's.
func ownFiles(files []File, user account) error {
	for _, f := range files {
		if !f.Owned {
			continue
		}
		fd, err := openIn(f.Destination, unix.O_PATH, 0)
		if err == nil {
			err = errors.Join(unix.Fchownat(fd, "", user.uid, user.gid, unix.AT_EMPTY_PATH), unix.Close(fd))
		}
		if err != nil {
			return &failure.Error{Reason: failure.Invalid, Op: "give the user", Subject: f.Destination, Cause: err}
		}
	}
	return nil
}

// enter changes to the working directory, which is made if it is missing.
func enter(cwd string) error {
	fd, err := directory(cwd)
	if err == nil {
		err = errors.Join(unix.Fchdir(fd), unix.Close(fd))
	}
	if err != nil {
		return &failure.Error{Reason: failure.Invalid, Op: "enter working directory", Subject: cwd, Cause: err}
	}
	return nil
}

// execute says that all is done and becomes the program.
func execute(socket io.Writer, args, env []string) error {
	path, err := find(args[0], env)
	if err != nil {
		return err
	}
	if _, err := socket.Write([]byte{MessageExecute}); err != nil {
		return err
	}
	return executeError(args[0], syscall.Exec(path, args, env))
}

// environment adds what every program expects.
func environment(p *specs.Process, home string) []string {
	env := slices.Clip(p.Env) // which may be others', too
	if lookupEnv(env, "PATH") == "" {
		env = append(env, "PATH="+defaultPath)
	}
	if lookupEnv(env, "HOME") == "" {
		env = append(env, "HOME="+home)
	}
	if p.Terminal && lookupEnv(env, "TERM") == "" {
		env = append(env, "TERM=xterm")
	}
	return env
}

// Descriptors returns the descriptors of a control message.
func Descriptors(rights []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		some, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, err
		}
		fds = append(fds, some...)
	}
	return fds, nil
}
