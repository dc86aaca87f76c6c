package supervisor

import (
	"testing"

	"github.com/vzctl/vzctl/core/sandbox"
	guestagent "github.com/vzctl/vzctl/guest/vminitd/agent"
)

// Otherwise no copy would ever be spared the question.
func TestTheGuestOfThisReleaseHasAllThatASandboxMakesUseOf(t *testing.T) {
	hello, err := guestagent.New("test", 0, nil).Hello(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	offered := map[string]bool{}
	for _, feature := range hello.Features {
		offered[feature] = true
	}
	if !sandbox.Complete(func(feature string) bool { return offered[feature] }) {
		t.Errorf("it has %q", hello.Features)
	}
}
