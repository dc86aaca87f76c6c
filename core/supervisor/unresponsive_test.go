package supervisor

import (
	"os"
	"strings"
	"testing"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func TestAGuestThatDoesNotAnswerIsOnRecordUntilItDoes(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	r.s.unresponsive("the guest does not answer; its VM is idle")
	if u := r.record().Run.Unresponsive; u == nil || u.Message != "the guest does not answer; its VM is idle" || u.Since.IsZero() {
		t.Errorf("on record is %+v", u)
	}
	r.s.unresponsive("")
	if u := r.record().Run.Unresponsive; u != nil {
		t.Errorf("it answers, and on record is %+v", u)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(r.store.Paths().Events())
	_, after, told := strings.Cut(string(log), `"action":"unresponsive"`)
	if err != nil || !told || !strings.Contains(after, `"reason":"the guest does not answer; its VM is idle"`) || !strings.Contains(after, `"action":"responsive"`) {
		t.Errorf("the events are %s, %v", log, err)
	}
}
