// Command scripted is a plugin that does what a test tells it to, above all what no plugin should. It is a kernel provider.
//
// VZCTL_SCRIPT says how it starts: "" well; "crash", "exit", "hang", "garbage", "flood", "wrong-wire", "wrong-handshake", "mute", "elsewhere", "elsewhere-round",
// "wrong-protocol", "net-rpc"; and how it ends: "slow-shutdown", or "tidy", without a file that says so. The architecture of a List and the reference of an Ensure say what the call does; see act.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/progress"
)

func main() {
	script := os.Getenv("VZCTL_SCRIPT")
	info := sdk.Info{Name: "scripted", Version: "1.2.3", Description: "does what it is told", Capabilities: map[string][]string{kernel.CapabilityArch: {"amd64"}}}
	switch script {
	case "crash":
		panic("no reason at all")
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot find my glasses")
		os.Exit(7)
	case "hang":
		select {}
	case "garbage":
		fmt.Println("hello, I am no plugin")
		select {}
	case "flood":
		for {
			fmt.Print(strings.Repeat("x", 4096))
		}
	case "wrong-wire":
		fmt.Println("1|99|unix|" + filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s") + "|grpc|")
		select {}
	case "net-rpc":
		fmt.Println("1|1|unix|" + filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s") + "|netrpc|")
		select {}
	case "elsewhere":
		fmt.Println("1|1|unix|/run/docker.sock|grpc|")
		select {}
	case "elsewhere-round":
		fmt.Println("1|1|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/../../docker.sock|grpc|")
		select {}
	case "wrong-handshake":
		fmt.Println("2|1|unix|" + filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s") + "|grpc|")
		select {}
	case "mute":
		os.Stdout.Close()
		select {}
	case "wrong-protocol":
		info.ProtocolVersions = []uint32{7, 9}
	}
	sdk.Serve(kernel.Plugin(info, &plugin{log: sdk.NewLogger("scripted"), script: script}))
}

type plugin struct {
	log    hclog.Logger
	script string
}

// List implements kernel.Provider.
func (p *plugin) List(ctx context.Context, arch, cacheDir string) ([]kernel.Kernel, error) {
	k, err := p.act(ctx, arch, nil)
	return []kernel.Kernel{k}, err
}

// Ensure implements kernel.Provider.
func (p *plugin) Ensure(ctx context.Context, r kernel.EnsureRequest, report progress.Func) (kernel.Kernel, error) {
	return p.act(ctx, r.Reference, report)
}

// Shutdown leaves a file that tells a test it was called.
func (p *plugin) Shutdown(context.Context) error {
	switch p.script {
	case "slow-shutdown":
		select {}
	case "tidy":
		return nil
	}
	return os.WriteFile(filepath.Join(os.TempDir(), "was-shut-down"), nil, 0o600)
}

func (p *plugin) act(ctx context.Context, what string, report progress.Func) (kernel.Kernel, error) {
	word, argument, _ := strings.Cut(what, " ")
	k := kernel.Kernel{Name: what, Path: "/boot/vmlinux", Format: kernel.FormatRaw, Arch: "amd64"}
	switch word {
	case "crash":
		p.log.Error("about to fail", "error", "the floor is lava")
		os.Exit(3)
	case "panic":
		panic("call went wrong")
	case "panic-elsewhere":
		go panic("goroutine went wrong")
		select {}
	case "hang":
		<-ctx.Done()
		return k, ctx.Err()
	case "hang-deaf":
		select {}
	case "freeze":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {}
	case "error":
		return k, &fault.Error{Reason: fault.Reason(argument), Op: "list", Subject: "kernels", Cause: errors.New("you asked for it"), Hint: "ask for something else"}
	case "huge-error":
		return k, errors.New("begin " + strings.Repeat("very ", 1<<20) + "end")
	case "log":
		p.log.Trace("a trace")
		p.log.Debug("a debug line", "n", 1)
		p.log.Info("an info line", "n", 2)
		p.log.Warn("a warning", "n", 3)
		p.log.Error("an error", "n", 4)
	case "log-anything":
		fmt.Fprint(os.Stderr, `{"@message":1,"@level":2,"@timestamp":3}`+"\n", `{"@level":"shout","@message":"x"}`+"\n", "{\n", "[]\n", "\n", "[WARN] by hand\n", strings.Repeat("long ", 64<<10)+"\n",
			`{"@level":"info","@message":"last, without an end"}`)
	case "env":
		k.CommandLine = strings.Join(os.Environ(), "\n")
	case "stdin":
		n, err := os.Stdin.Read(make([]byte, 1))
		k.CommandLine = fmt.Sprint(n, " ", err)
	case "child":
		c := exec.Command("sleep", "1000")
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			return k, err
		}
		k.CommandLine = strconv.Itoa(c.Process.Pid)
	case "relative":
		k.Path = "boot/vmlinux"
	case "progress":
		for i := range int64(3) {
			report(progress.Update{Step: "step", Item: strconv.FormatInt(i, 10), Done: i + 1, Total: 3, Unit: progress.Items})
		}
	case "write":
		if err := os.WriteFile(argument, []byte("x"), 0o600); err != nil {
			return k, err
		}
	case "sleep":
		d, err := time.ParseDuration(argument)
		if err != nil {
			return k, err
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return k, ctx.Err()
		}
	}
	return k, nil
}
