package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// containerd runs the same program in a container that has no machine of its own, and no network.
func containerd() row {
	return row{
		name: "containerd", what: "the same start", reference: "`ctr run` of the same image by containerd and runc: no VM, no network",
		target: target{ratio: 1.0},
		measure: func(ctx context.Context, s *stage) (m measured, err error) {
			peer, err := startContainerd(ctx, s)
			if err != nil {
				return m, err
			}
			defer func() { err = errors.Join(err, peer.close()) }()
			snapshotter, err := peer.prepare(ctx, s.image)
			if err != nil {
				return m, err
			}
			m, err = pairs(ctx, s.count, s.runTrue, func(ctx context.Context) (float64, error) {
				return timed(peer.ctr(ctx, "run", "--rm", "--snapshotter", snapshotter, s.image, "bench", "/bin/true"))
			})
			m.notes = append(m.notes, "containerd's snapshotter: "+snapshotter)
			return m, err
		},
	}
}

// peer is a containerd of our own, which knows nothing of the host's.
type peer struct {
	cmd    *exec.Cmd
	dir    string
	socket string
	said   strings.Builder
}

// startContainerd returns when it serves, which it tells as it would tell systemd.
func startContainerd(ctx context.Context, s *stage) (*peer, error) {
	if os.Geteuid() != 0 {
		return nil, unavailable("containerd needs root")
	}
	for _, program := range []string{"containerd", "ctr", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, unavailable(program + " is not installed")
		}
	}
	p := &peer{dir: s.path("containerd")}
	p.socket = filepath.Join(p.dir, "sock")
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(p.dir, "config.toml")
	if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600); err != nil {
		return nil, err
	}
	notify := filepath.Join(p.dir, "notify")
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	p.cmd = command(context.WithoutCancel(ctx), "containerd", "--config", config, "--address", p.socket,
		"--root", filepath.Join(p.dir, "root"), "--state", filepath.Join(p.dir, "state"))
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	p.cmd.Stderr = &p.said
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	_ = ready.SetReadDeadline(time.Now().Add(30 * time.Second))
	for message := make([]byte, 4096); ; {
		n, err := ready.Read(message)
		if err != nil {
			closed := p.close()
			return nil, unavailable(fmt.Sprintf("containerd does not start (%v): %s", errors.Join(err, closed), last(p.said.String())))
		}
		if strings.Contains(string(message[:n]), "READY=1") {
			return p, nil
		}
	}
}

func (p *peer) ctr(ctx context.Context, args ...string) *exec.Cmd {
	return command(ctx, "ctr", append([]string{"--address", p.socket}, args...)...)
}

// prepare fetches the image and finds the best snapshotter that can run it.
func (p *peer) prepare(ctx context.Context, image string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var why error
	for _, snapshotter := range []string{"overlayfs", "native"} {
		err := quiet(p.ctr(ctx, "images", "pull", "--plain-http", "--snapshotter", snapshotter, image))
		if err == nil {
			err = quiet(p.ctr(ctx, "run", "--rm", "--snapshotter", snapshotter, image, "probe", "/bin/true"))
		}
		if err == nil {
			return snapshotter, nil
		}
		why = errors.Join(why, fmt.Errorf("%s: %w", snapshotter, err))
	}
	return "", unavailable("containerd runs no container here: " + last(why.Error()))
}

// close ends containerd and waits for it.
func (p *peer) close() error {
	_ = p.cmd.Process.Signal(os.Interrupt) // it has ended otherwise
	stuck := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer stuck.Stop()
	_ = p.cmd.Wait() // whatever it says of being interrupted
	return os.RemoveAll(p.dir)
}

// last line of what somebody said, fit for a table.
func last(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.ReplaceAll(lines[len(lines)-1], "|", "/")
}
