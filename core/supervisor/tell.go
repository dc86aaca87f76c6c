package supervisor

import (
	"context"
	"maps"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/events"
)

// tell adds to the event log; a full disk does not stop a container.
func (s *supervision) tell(ctx context.Context, action string, attributes map[string]string) {
	s.append(ctx, s.event(action, attributes))
}

func (s *supervision) event(action string, attributes map[string]string) events.Event {
	return s.eventOf(s.name(), action, attributes)
}

func (s *supervision) eventOf(name, action string, attributes map[string]string) events.Event {
	all := map[string]string{"image": s.container.Image}
	maps.Copy(all, attributes)
	return events.Event{Time: time.Now(), Type: "container", Action: action, ID: s.container.ID, Name: name, Attributes: all}
}

func (s *supervision) append(ctx context.Context, e events.Event) {
	if err := s.events.Append(ctx, e); err != nil {
		s.log.Warn("cannot add to the event log", "error", err)
	}
}

// untold is how many events may wait to be told; if there are more, who adds one waits.
const untold = 64

// tellLater is tell for what nobody shall wait for: executing a process takes little more than this. Those who call it have ended before endTelling is called.
func (s *supervision) tellLater(action string, attributes map[string]string) {
	s.untold <- s.eventOf("", action, attributes)
}

// telling tells what tellLater has left, until endTelling.
func (s *supervision) telling() {
	for e := range s.untold {
		e.Name = s.name() // which takes time, too
		s.append(context.Background(), e)
	}
	close(s.allTold)
}

// endTelling returns when all is told.
func (s *supervision) endTelling() {
	close(s.untold)
	<-s.allTold
}

// signalName is how events name a signal.
func signalName(signal int) string { return unix.SignalName(unix.Signal(signal)) }
