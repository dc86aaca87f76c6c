package engine

import (
	"context"

	"github.com/vzctl/vzctl/core/health"
	"github.com/vzctl/vzctl/core/images"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Health is how a container with a health check is.
type Health struct {
	// Check is how it is asked.
	Check health.Check `json:"check"`
	// State is what the last probes of its present or last run have found.
	health.State
}

// Probe is the result of one probe.
type Probe struct {
	ExitCode int // health.TimedOut if it took too long, or could not be executed
	Output   []byte
	Status   health.Status // of the container after it
}

// healthCheck is that of a container that is being created.
func healthCheck(r CreateRequest, image images.Image) (*health.Check, error) {
	user := r.Health
	if r.NoHealthcheck {
		user.Test = health.Disabled().Test
	}
	var own *health.Check
	if image.Healthcheck != nil && len(user.Test) == 0 {
		var err error
		if own, err = health.Parse(image.Healthcheck); err != nil {
			return nil, imagesCheck(image, err)
		}
	} else if image.Healthcheck != nil && !r.NoHealthcheck {
		own, _ = health.Parse(image.Healthcheck) // what the user has not set; that it is broken the user may not want to know
	}
	check, err := health.Merge(own, user)
	if err != nil && own != nil && len(user.Test) == 0 {
		return nil, imagesCheck(image, err)
	}
	return check, err
}

func imagesCheck(image images.Image, err error) error {
	return &fault.Error{Reason: fault.Invalid, Op: "read health check of image", Subject: image.Name, Cause: err, Hint: "give --no-healthcheck, or --health-cmd"}
}

// health of a container; nil if it has no check.
func (e *Engine) health(c store.Container) *Health {
	if c.Health == nil {
		return nil
	}
	h := &Health{Check: *c.Health}
	// Before the first run there is none.
	if err := store.ReadJSON(e.store.Paths().ContainerHealth(c.ID), &h.State); err != nil || c.State == lifecycle.Starting {
		h.State = health.State{}
	}
	return h
}

// CheckHealth probes a running container now.
func (e *Engine) CheckHealth(ctx context.Context, ref string) (Probe, error) {
	s, err := e.connect(ref, lifecycle.Exec)
	if err != nil {
		return Probe{}, err
	}
	defer s.Close()
	code, output, status, err := s.CheckHealth(ctx)
	return Probe{ExitCode: code, Output: output, Status: health.Status(status)}, err
}
