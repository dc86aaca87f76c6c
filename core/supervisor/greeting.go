package supervisor

import (
	"context"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/answers"
	"github.com/vzctl/vzctl/core/sandbox"
)

// What guests say of themselves is kept with what plugins answer, and depends on the kernel and the init image that they are booted from. So a VM that is a copy of one
// that was booted before need not be asked: the answer takes an emulated guest, for which all else waits, some milliseconds.

// dial connects to the guest. One that is copied is asked what it can do only if that is not on record.
func (s *supervision) dial(ctx context.Context, vsockPath string, copied bool) (client *agent.Client, err error) {
	s.guest, err = agent.DialKnown(ctx, vsockPath, "vzctl", func() (agent.Greeting, bool) {
		if !copied {
			return agent.Greeting{}, false
		}
		known, ok := s.knownGreeting()
		// Of one that lacks something the guest's own word is taken: containers are refused what it lacks.
		return known, ok && sandbox.Complete(known.Offers)
	})
	return s.guest, err
}

// noteGreeting is called when the start is over, with its error, and nobody waits for it. What the guest has said is kept, if that is news: it said so before anything
// of a container was there. In one that was restored, processes of a container may have become who speaks.
func (s *supervision) noteGreeting(startErr error) {
	book, question := s.greetings()
	switch {
	case s.guest == nil || s.restores():
	case startErr != nil && s.guest.Known: // for whatever reason: the next one is asked
		if err := book.Forget(question...); err != nil {
			s.log.Warn("cannot forget what a guest said of itself", "error", err)
		}
	case startErr != nil || s.guest.Known:
	default:
		if known, ok := s.knownGreeting(); ok && known.Equal(s.guest.Greeting) {
			return
		}
		files, err := answers.Look(question[1:]...)
		// The VM was booted, or its original looked at, after the start began.
		if err == nil && answers.Settled(files, s.opened) {
			err = book.Put(s.guest.Greeting, files, question...)
		}
		if err != nil {
			s.log.Warn("cannot keep what a guest said of itself", "error", err)
		}
	}
}

func (s *supervision) knownGreeting() (known agent.Greeting, ok bool) {
	book, question := s.greetings()
	ok = book.Get(&known, question...)
	return known, ok
}

// greetings is where greetings are kept, and the question to which the one of this sandbox's guest is the answer: its second and third parts are the files that it depends on.
func (s *supervision) greetings() (book answers.Book, question []string) {
	return answers.Book{Dir: s.store.Paths().Answers()}, []string{"greeting", s.sandbox.InitrdPath, s.sandbox.Kernel.Path}
}
