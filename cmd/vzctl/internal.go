package main

import (
	"context"
	"errors"

	"github.com/vzctl/vzctl/cmd/vzctl/command"
	"github.com/vzctl/vzctl/core/engine"
)

func open(ctx context.Context, options engine.Options) (engine.API, error) {
	return engine.Open(ctx, options)
}

func verify(context.Context, string, command.Fixtures, func(command.Case)) error {
	return errors.New("the conformance suite is not in this build")
}
