package main

import (
	"context"

	"github.com/vzctl/vzctl/core/engine"
)

func open(ctx context.Context, options engine.Options) (engine.API, error) {
	return engine.Open(ctx, options)
}
