package main

import (
	"testing"

	"github.com/vzctl/vzctl/sdk/conformance"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

func TestConformance(t *testing.T) {
	program, err := plugintest.Build(t.TempDir(), "github.com/vzctl/vzctl/plugins/user-network")
	if err != nil {
		t.Fatal(err)
	}
	conformance.Test(t, conformance.Target{Path: program}, conformance.Fixture{})
}
