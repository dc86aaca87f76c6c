package launch_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/launch"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

// beHost is another process that starts a plugin, says the pids of plugin and its child, and waits to be killed.
func beHost(path string) {
	p, err := launch.Start(context.Background(), launch.Options{Path: path, RuntimeDir: os.Getenv("VZCTL_TEST_DIR"), Env: []string{"VZCTL_SCRIPT="}})
	if err != nil {
		fmt.Println(err)
		return
	}
	list, _ := kernel.NewClient(p.Conn(), p.Info()).List(context.Background(), "child", "")
	go func() { _, _ = kernel.NewClient(p.Conn(), p.Info()).List(context.Background(), "hang-deaf", "") }()
	fmt.Println(p.PID(), list[0].CommandLine)
	select {}
}

func TestAPluginShutsDownWhenItsHostIsKilled(t *testing.T) {
	dir := plugintest.RuntimeDir(t)
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), "VZCTL_TEST_HOST="+scripted, "VZCTL_TEST_DIR="+dir)
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	var plugin, child int
	if _, scan := fmt.Sscan(line, &plugin, &child); err != nil || scan != nil {
		t.Fatalf("the host said %q: %v", line, err)
	}
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })
	_ = host.Process.Kill()
	_ = host.Wait()
	awaitGone(t, plugin)
	if _, err := os.Stat(filepath.Join(dir, "was-shut-down")); err != nil {
		t.Error("the plugin was not shut down")
	}
}
