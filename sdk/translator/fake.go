package translator

import (
	"context"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Fake is a Translator of a function, for tests. Without one, Plan fails with fault.Internal.
type Fake struct {
	PlanFunc func(ctx context.Context, guestArch, programArch string) (Plan, error)
}

var _ Translator = (*Fake)(nil)

// Plan implements Translator.
func (f *Fake) Plan(ctx context.Context, guestArch, programArch string) (Plan, error) {
	if f.PlanFunc == nil {
		return Plan{}, &fault.Error{Reason: fault.Internal, Op: "plan", Subject: "fake translator"}
	}
	return f.PlanFunc(ctx, guestArch, programArch)
}
