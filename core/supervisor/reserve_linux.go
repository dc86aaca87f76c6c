package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/core/daemon"
	"github.com/vzctl/vzctl/core/reserve"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/launch"
	"github.com/vzctl/vzctl/sdk/rendezvous"
)

// A supervisor and its hypervisor plugin take longer to be made than all that is done with them in a start. So the supervisor of a sandbox that runs has another made, which waits in reserve: for a sandbox
// whose id it has chosen, in that one's runtime directory, with the plugin that the last one had.

// Reserved is a supervisor that was taken from the reserve. It is sent to its sandbox by Prepare, or closed.
type Reserved struct {
	taken *reserve.Taken
	env   []string
}

// Surroundings of this process, as TakeReserved wants them. They can be had before it.
func Surroundings() ([]string, error) { return rendezvous.Surroundings() }

// TakeReserved takes the supervisor from the reserve that is as Prepare would make it for a sandbox of a hypervisor plugin, by its path, by a process with these surroundings; nil if there is none.
func TakeReserved(st *store.Store, program []string, hypervisor string, plugins config.Plugins, verbose bool, surroundings []string) *Reserved {
	env, size := os.Environ(), 0
	for _, variable := range env {
		size += len(variable) + 1
	}
	if len(program) != 1 || size > daemon.MaxEnv {
		return nil
	}
	key, err := reserveKey(st, program[0], hypervisor, plugins, verbose, surroundings)
	if err != nil {
		return nil // what is wrong with it is told by who makes one
	}
	taken := reserve.At(st.Paths().Reserve()).Take(key, program[0], st.RemoveUnusedRun)
	if taken == nil {
		return nil
	}
	return &Reserved{taken: taken, env: env}
}

// SandboxID is that of the sandbox that it is for.
func (r *Reserved) SandboxID() string { return r.taken.ID }

// Close ends one that was not sent.
func (r *Reserved) Close() error {
	if r.taken == nil {
		return nil
	}
	return r.taken.Conn.Close()
}

func (r *Reserved) send(spec daemon.Spec) (*daemon.Process, error) {
	taken := r.taken
	r.taken = nil
	spec.Env = r.env
	return daemon.Send(taken, spec)
}

// reserveKey has all that makes one supervisor differ from another before it knows its sandbox, but for the variables of its environment that it is sent.
func reserveKey(st *store.Store, program, hypervisor string, plugins config.Plugins, verbose bool, surroundings []string) (string, error) {
	parts := []string{st.Paths().Root, st.Paths().Run, hypervisor, fmt.Sprint(verbose)}
	for _, path := range []string{program, hypervisor} {
		file, err := rendezvous.File(path)
		if err != nil {
			return "", err
		}
		parts = append(parts, file)
	}
	settings, err := json.Marshal(plugins)
	if err != nil {
		return "", err
	}
	parts = append(parts, string(settings))
	parts = append(parts, launch.Inherited(sdk.Hypervisor)...)
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "VZCTL_") {
			parts = append(parts, variable)
		}
	}
	return reserve.Key(append(parts, surroundings...)...), nil
}

// reserveNext has a supervisor made that waits for the next sandbox, if none does. Nobody waits for it, and a start can do without.
func (s *supervision) reserveNext() {
	if err := s.tryReserveNext(); err != nil {
		s.log.Debug("no supervisor waits for the next container", "error", err)
	}
}

func (s *supervision) tryReserveNext() error {
	loaded, err := config.Load()
	if err != nil || loaded.ReserveTime() == 0 {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	surroundings, err := rendezvous.Surroundings()
	if err != nil {
		return err
	}
	verbose := s.log.IsDebug()
	key, err := reserveKey(s.store, program, s.sandbox.Hypervisor, loaded.Plugins, verbose, surroundings)
	if err != nil {
		return err
	}
	paths := s.store.Paths()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	life, err := reserve.At(paths.Reserve()).Claim(ctx, key, s.store.RemoveUnusedRun)
	if err != nil || life == nil {
		return err
	}
	args := []string{"supervise", "--root", paths.Root, "--reserve", key}
	if verbose {
		args = append(args, "--debug")
	}
	_, err = daemon.Start(daemon.Spec{Program: []string{program}, Args: append(args, reservedID), Life: life, LogPath: paths.ReserveLog(),
		Env: []string{hypervisorKey + "=" + s.sandbox.Hypervisor}})
	return err
}

// reservedID is in the place of the sandbox's id in the arguments of a supervisor that waits.
const reservedID = "in-reserve......................"

// superviseNext waits in reserve, and then is as supervise. shown is the last of this process's arguments.
func superviseNext(root, key, hypervisor, shown string, level hclog.Level) error {
	id := store.NewID()
	output := daemon.NewLog(store.Paths{Root: root}.SupervisorLog(id))
	log := newLog(output, level)
	err := func() error {
		inherited, err := daemon.Inherit(0)
		if err != nil {
			return err
		}
		loaded, err := config.Load()
		if err != nil {
			return err
		}
		st, err := store.Open(root)
		if err != nil {
			return err
		}
		run, err := st.MakeSandboxRun(id)
		if err != nil {
			return err
		}
		plugin := startEarly(hypervisor, run, log)
		defer plugin.close()
		since := time.Now()
		mission, err := awaitMission(st, key, id, loaded.ReserveTime(), plugin, output)
		if err != nil {
			plugin.close()
			return errors.Join(err, os.RemoveAll(run))
		}
		if err := inherited.Leave(); err != nil {
			return err
		}
		show(shown, id)
		return superviseReleased(st, run, id, plugin, mission, time.Since(since) < soon, log)
	}()
	if errors.Is(err, reserve.ErrNotWanted) {
		return nil
	}
	if err != nil {
		log.Error("the sandbox has failed", "error", err)
	}
	return err
}

// awaitMission returns once this process is taken from the reserve and knows what for; or the error, ErrNotWanted as a rule.
func awaitMission(st *store.Store, key, id string, keep time.Duration, plugin *early, output *daemon.Log) (*daemon.Inherited, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	gone, err := plugin.await()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	conn, err := reserve.At(st.Paths().Reserve()).Wait(ctx, key, id, keep)
	if err != nil {
		return nil, err
	}
	mission, err := daemon.Receive(conn, socketCount, output)
	if err != nil {
		_ = conn.Close()
	}
	return mission, err
}

// show has lists of processes show the id of the sandbox in the place of an argument: the kernel reads them where they were when the process began, and there Go has its strings of them.
func show(argument, id string) {
	if len(argument) == len(id) {
		copy(unsafe.Slice(unsafe.StringData(argument), len(id)), id)
	}
}
