package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vzctl/vzctl/cmd/vzctl/command"
	"github.com/vzctl/vzctl/core/engine"
)

func supervise([]string) int {
	fmt.Fprintln(os.Stderr, "vzctl: supervise: not in this build")
	return 125
}

func netd([]string) int {
	fmt.Fprintln(os.Stderr, "vzctl: netd: not in this build")
	return 125
}

func open(context.Context, engine.Options) (engine.API, error) {
	return nil, errors.New("the engine is not in this build")
}

func verify(context.Context, string, command.Fixtures, func(command.Case)) error {
	return errors.New("the conformance suite is not in this build")
}
