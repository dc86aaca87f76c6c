package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/daemon"
	"github.com/vzctl/vzctl/core/reserve"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/launch"
	"github.com/vzctl/vzctl/sdk/rendezvous"
)

// A supervisor and its hypervisor plugin take longer to be made than all that is done with them in a start. So the supervisor of a sandbox that was started at once has another made, which waits in reserve: for a
// sandbox whose id it has chosen, in that one's runtime directory, with the plugin that the last one had.

// Reserve is what the starter of a sandbox knows of the reserve: the supervisor that it has taken, if there was one, and what the sandbox's is told of the next.
type Reserve struct {
	next  nextReserve
	taken *reserve.Taken
	env   []string
}

// nextReserve is what a supervisor is told of the one that it has made. It is in its environment as JSON.
type nextReserve struct {
	Key     string        // what that waits for
	Keep    time.Duration // for how long
	Program string        // rendezvous.File of the one that starters look for
}

const nextReserveKey = "SUPERVISE_NEXT"

// Surroundings of this process, as TakeFromReserve wants them. They can be had before it.
func Surroundings() ([]string, error) { return rendezvous.Surroundings() }

// TakeFromReserve takes the supervisor, if there is one, that is as Prepare would make it. It is given to Prepare, or closed.
func TakeFromReserve(st *store.Store, w Wanted) *Reserve {
	if len(w.Program) != 1 {
		return nil
	}
	key, file, err := w.key(st)
	if err != nil {
		return nil // what is wrong is told by who makes a supervisor
	}
	r := &Reserve{next: nextReserve{key, w.Keep, file}, env: os.Environ()}
	size := len(nextReserveKey) + 2*len(file) + 200 // of what Prepare adds
	for _, variable := range r.env {
		size += len(variable) + 1
	}
	if size <= daemon.MaxEnv {
		r.taken = reserve.At(st.Paths().Reserve()).Take(key, w.Program[0], st.RemoveUnusedRun)
	}
	return r
}

// SandboxID is that of the sandbox that the supervisor is for which was taken; "" if none was.
func (r *Reserve) SandboxID() string {
	if r == nil || r.taken == nil {
		return ""
	}
	return r.taken.ID
}

// Close ends the supervisor that was taken, unless it was sent to its sandbox.
func (r *Reserve) Close() error {
	if r.SandboxID() == "" {
		return nil
	}
	taken := r.taken
	r.taken = nil
	return taken.Close()
}

// send makes the supervisor that was taken the one of its sandbox.
func (r *Reserve) send(spec daemon.Spec) (*daemon.Process, error) {
	taken := r.taken
	r.taken = nil
	spec.Env = append(slices.Clone(r.env), spec.Env...)
	return daemon.Send(taken, spec)
}

// variable tells a supervisor of the next.
func (r *Reserve) variable() []string {
	if r == nil || r.next.Keep == 0 {
		return nil
	}
	text, err := json.Marshal(r.next)
	if err != nil {
		return nil // it never fails
	}
	return []string{nextReserveKey + "=" + string(text)}
}

// key has all that makes one supervisor differ from another before it knows its sandbox, but for the variables of its environment that it is sent. It returns the name of the program's file, too.
func (w Wanted) key(st *store.Store) (key, programFile string, err error) {
	programFile, err = rendezvous.File(w.Program[0])
	if err != nil {
		return "", "", err
	}
	pluginFile, err := rendezvous.File(w.Hypervisor)
	if err != nil {
		return "", "", err
	}
	settings, err := json.Marshal(w.Plugins)
	if err != nil {
		return "", "", err
	}
	parts := []string{st.Paths().Root, st.Paths().Run, programFile, w.Hypervisor, pluginFile, string(settings), fmt.Sprint(w.Verbose)}
	parts = append(parts, launch.Inherited(sdk.Hypervisor)...)
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "VZCTL_") || strings.HasPrefix(variable, "GO") { // which Go reads when a process begins
			parts = append(parts, variable)
		}
	}
	return reserve.Key(append(parts, w.Surroundings...)...), programFile, nil
}

// takeNextReserve returns what this process is told of the next; the zero value: there is to be none. Nobody who is started from here is to have it.
func takeNextReserve() (next nextReserve) {
	text := os.Getenv(nextReserveKey)
	_ = os.Unsetenv(nextReserveKey) // it fails for bad names only
	if json.Unmarshal([]byte(text), &next) != nil {
		return nextReserve{}
	}
	return next
}

// reserveNext has a supervisor made that waits for the next sandbox, if none does. Nobody waits for it, and a start can do without.
func (s *supervision) reserveNext(next nextReserve) {
	if err := s.tryReserveNext(next); err != nil {
		s.log.Debug("no supervisor waits for the next container", "error", err)
	}
}

func (s *supervision) tryReserveNext(next nextReserve) error {
	if next.Key == "" {
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if file, err := rendezvous.File(program); err != nil || file != next.Program { // it was replaced, or started in some other way
		return err
	}
	paths := s.store.Paths()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	life, err := reserve.At(paths.Reserve()).Claim(ctx, next.Key, s.store.RemoveUnusedRun)
	if err != nil || life == nil {
		return err
	}
	args := []string{"supervise", "--root", paths.Root, "--reserve", next.Key, "--keep", next.Keep.String()}
	if s.log.IsDebug() {
		args = append(args, "--debug")
	}
	_, err = daemon.Start(daemon.Spec{Program: []string{program}, Args: append(args, reservedID), Life: life, LogPath: paths.ReserveLog(),
		Env: []string{hypervisorKey + "=" + s.sandbox.Hypervisor}})
	return err
}

// reservedID is in the place of the sandbox's id in the arguments of a supervisor that waits.
const reservedID = "in-reserve......................"

// superviseNext waits in reserve, and then is as supervise. shown is the last of this process's arguments.
func superviseNext(root, key, hypervisor, shown string, keep time.Duration, level hclog.Level) error {
	id := store.NewID()
	output := daemon.NewLog(store.Paths{Root: root}.SupervisorLog(id))
	log := newLog(output, level)
	err := func() error {
		inherited, err := daemon.Inherit(0)
		if err != nil {
			return err
		}
		st, err := store.Open(root)
		if err != nil {
			return err
		}
		waiter, err := reserve.At(st.Paths().Reserve()).Open(key, id)
		if err != nil {
			return err
		}
		run, err := st.MakeSandboxRun(id)
		if err != nil {
			return errors.Join(err, waiter.Close())
		}
		plugin := startEarly(hypervisor, run, log)
		defer plugin.close()
		since := time.Now()
		mission, err := awaitMission(waiter, keep, plugin, output)
		if err != nil {
			plugin.close()
			return errors.Join(err, os.RemoveAll(run), waiter.Close())
		}
		if err := errors.Join(inherited.Leave(), waiter.Close()); err != nil {
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
func awaitMission(waiter *reserve.Waiter, keep time.Duration, plugin *early, output *daemon.Log) (*daemon.Inherited, error) {
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
	conn, err := waiter.Wait(ctx, keep)
	if err != nil {
		return nil, err
	}
	mission, err := daemon.Receive(ctx, conn, socketCount, output)
	if errors.Is(err, io.EOF) { // whoever has taken it is gone
		err = reserve.ErrNotWanted
	}
	return mission, err
}

// show has lists of processes show the id of the sandbox in the place of an argument: the kernel reads them where they were when the process began, and there Go has its strings of them.
func show(argument, id string) {
	if len(argument) == len(id) {
		copy(unsafe.Slice(unsafe.StringData(argument), len(id)), id)
	}
}
