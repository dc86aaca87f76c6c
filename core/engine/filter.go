package engine

import (
	"encoding/json"
	"errors"
	"os"

	"github.com/vzctl/vzctl/core/answers"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/seccomp"
	filter "github.com/vzctl/vzctl/guest/seccomp"
)

// madeFilter is a profile of system calls made ready for a container, as its files have it.
type madeFilter struct {
	Rules   json.RawMessage `json:"rules"`
	Program []byte          `json:"program"` // with its flags; see sandbox.Filter
}

func makeFilter(profile *seccomp.Profile, subject seccomp.Subject) (madeFilter, error) {
	rules, err := profile.For(subject)
	if err != nil {
		return madeFilter{}, err
	}
	text, err := json.Marshal(rules)
	if err != nil {
		return madeFilter{}, err
	}
	made, err := filter.Compile(rules, subject.Arch)
	if err != nil {
		return madeFilter{}, err
	}
	return madeFilter{text, sandbox.Filter{Program: filter.Encode(made.Program), Flags: made.Flags}.Format()}, nil
}

// defaultFilter makes the default profile ready. Most containers have the same one, so it is kept as answers of plugins are; here this very program is what it depends on.
func (e *Engine) defaultFilter(subject seccomp.Subject) (made madeFilter, err error) {
	book := answers.Book{Dir: e.store.Paths().Answers()}
	question := append([]string{"default profile of system calls", subject.Arch, subject.Kernel}, subject.Capabilities...)
	if book.Get(&made, question...) {
		return made, nil
	}
	profile, err := seccomp.Default()
	if err == nil {
		made, err = makeFilter(profile, subject)
	}
	if err != nil {
		return madeFilter{}, err
	}
	program, err := os.Executable()
	if err != nil {
		return made, nil
	}
	// A program that was replaced while it runs is no longer there.
	if files, err := answers.Look(program); err == nil && !files[0].Missing {
		if err := book.Put(made, files, question...); err != nil {
			e.log.Warn("cannot keep the profile of system calls", "error", err)
		}
	}
	return made, nil
}

// writeFilter puts a container's filter of system calls beside its record, apart from the runtime spec and made ready, so that no start has to read or make it.
func (e *Engine) writeFilter(made madeFilter, id string) error {
	paths := e.store.Paths()
	return errors.Join(os.WriteFile(paths.ContainerSeccomp(id), made.Rules, 0o600), os.WriteFile(paths.ContainerFilter(id), made.Program, 0o600))
}
