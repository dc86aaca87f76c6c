package launch_test

import (
	"context"
	"os/exec"
	"testing"

	"github.com/vzctl/vzctl/sdk/launch"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

// BenchmarkStart is from nothing to the first answer, and BenchmarkExec its reference: the same program run to its end.
func BenchmarkStart(b *testing.B) {
	o := launch.Options{Path: scripted, RuntimeDir: plugintest.RuntimeDir(b), Env: []string{"VZCTL_SCRIPT="}}
	for b.Loop() {
		p, err := launch.Start(context.Background(), o)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = p.Close(context.Background())
		b.StartTimer()
	}
}

func BenchmarkExec(b *testing.B) {
	for b.Loop() {
		if err := exec.Command(scripted, "--info").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkClose is the end of a plugin that has nothing to do.
func BenchmarkClose(b *testing.B) {
	o := launch.Options{Path: scripted, RuntimeDir: plugintest.RuntimeDir(b), Env: []string{"VZCTL_SCRIPT="}}
	for b.Loop() {
		b.StopTimer()
		p, err := launch.Start(context.Background(), o)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		_ = p.Close(context.Background())
	}
}
