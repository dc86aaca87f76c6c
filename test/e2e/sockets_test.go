package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vzctl/vzctl/test/fixtures/echo"
	"github.com/vzctl/vzctl/test/fixtures/image"
)

// serve has somebody on the host listen until the test ends.
func serve(t *testing.T, path, greeting string) {
	t.Helper()
	l, err := echo.Serve(path, greeting)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

func TestE2ESocketsOfHostAndContainerAreJoined(t *testing.T) {
	p := me(t)
	reference := p.desk.imageWith(t, "echoes", image.Dir("run", 0o755), image.Dir("var", 0o755), image.Link("var/run", "../run"))
	// Longer than an address of a unix socket, each of them.
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	within := "/srv/" + strings.Repeat("c", 120) + "/s"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	offered, published := filepath.Join(dir, "offered"), filepath.Join(dir, "published")
	agents := []string{filepath.Join(dir, "agent1"), filepath.Join(dir, "agent2")}
	serve(t, offered, "host")
	serve(t, agents[0], "agent1")
	serve(t, agents[1], "agent2")
	as := func(agent string) *person {
		other := p.desk.person(t, p.root)
		other.env = append(other.env, "SSH_AUTH_SOCK="+agent)
		return other
	}
	name := p.name()
	as(agents[0]).must("run", "-d", "--name", name, "--ssh", "--publish-socket", published+":"+within, "--socket", offered+":/var/run/in:mode=0666,uid=7,gid=8",
		reference, "sh", "-c", "mkdir -p "+filepath.Dir(within)+" && exec echoes serve "+within+" container")
	ready := func() {
		t.Helper()
		p.must("exec", name, "sh", "-c", "until echoes use "+within+" container 1 1 2>/dev/null; do usleep 20000; done")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.vzctl("logs", name))
		}
	})
	ready()
	use := func(path, greeting string, connections, size int) {
		t.Helper()
		if out := p.must("exec", name, "echoes", "use", path, greeting, strconv.Itoa(connections), strconv.Itoa(size)); out != "ok\n" {
			t.Errorf("from the container: %q", out)
		}
	}
	hostUses := func(connections, size int) {
		t.Helper()
		if err := echo.Use(published, "container", connections, size); err != nil {
			t.Error("from the host:", err)
		}
	}

	expect(t, p.must("exec", name, "sh", "-c", `echo "in=$(stat -c %F:%a:%u:%g /run/in)"; echo "agent=$(stat -c %F:%a:%u $SSH_AUTH_SOCK)"; echo "variable=$SSH_AUTH_SOCK"`),
		map[string]string{"in": "socket:666:7:8", "agent": "socket:660:0", "variable": "/run/host-services/ssh-auth.sock"})
	if info, err := os.Lstat(published); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the published socket is %v, %v", info, err)
	}
	hostUses(1, 10<<20)
	hostUses(20, 256<<10)
	use("/run/in", "host", 1, 10<<20)
	use("/run/in", "host", 20, 256<<10)
	use("/run/host-services/ssh-auth.sock", "agent1", 1, 1000)
	if r := p.vzctl("exec", "-u", "app", name, "echoes", "use", "/run/host-services/ssh-auth.sock", "agent1", "1", "1"); r.code == 0 {
		t.Error("another user of the container reaches the agent")
	}

	// A second run has the agent of who starts it, and nothing of the first is in its way.
	p.must("stop", "-t", "1", name)
	if _, err := os.Lstat(published); !os.IsNotExist(err) {
		t.Errorf("the published socket of a stopped container: %v", err)
	}
	as(agents[1]).must("start", name)
	ready()
	hostUses(1, 1000)
	use("/run/host-services/ssh-auth.sock", "agent2", 1, 1000)

	// A supervisor that was killed leaves a socket, which the next run replaces.
	c, _ := p.find(name)
	if err := syscall.Kill(c.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.nothingRuns()
	if _, err := os.Lstat(published); err != nil {
		t.Errorf("this test shows nothing: %v", err)
	}
	as(agents[1]).must("start", name)
	ready()
	hostUses(1, 1000)
	p.must("rm", "-f", name)

	for title, test := range map[string]struct {
		agent, says string
		flags       []string
	}{
		"a file in the place of a published socket": {"", "not a socket", []string{"--publish-socket", dir + "/file:/s"}},
		"somebody who listens there":                {"", "somebody listens there", []string{"--publish-socket", offered + ":/s"}},
		"nobody to offer":                           {"", "there is no such socket", []string{"--socket", dir + "/none:/s"}},
		"no agent":                                  {"", "SSH_AUTH_SOCK is not set", []string{"--ssh"}},
		"an agent that is gone":                     {dir + "/gone", "there is no such socket", []string{"--ssh"}},
	} {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := as(test.agent).vzctl(append(append([]string{"run", "--rm"}, test.flags...), reference, "true")...)
		if r.code != 125 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, test.says) {
			t.Errorf("%s: exit code %d, %q; want 125 and one line with %q", title, r.code, r.stderr, test.says)
		}
		if content, err := os.ReadFile(filepath.Join(dir, "file")); string(content) != "precious" {
			t.Errorf("%s: the file has %q, %v", title, content, err)
		}
	}
}

// TestE2ESocketsAreThereAgainAfterARestore checkpoints a container with a connection, which is refused, and without.
func TestE2ESocketsAreThereAgainAfterARestore(t *testing.T) {
	p := me(t)
	reference := p.desk.imageWith(t, "echoes")
	dir := t.TempDir()
	offered, published := filepath.Join(dir, "offered"), filepath.Join(dir, "published")
	serve(t, offered, "host")
	name := p.name()
	p.must("run", "-d", "--name", name, "--publish-socket", published+":/tmp/s", "--socket", offered+":/tmp/in", reference, "echoes", "serve", "/tmp/s", "container")
	p.must("exec", name, "sh", "-c", "until echoes use /tmp/s container 1 1 2>/dev/null; do usleep 20000; done")
	conn, err := echo.Dial(published)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if r := p.vzctl("checkpoint", name); r.code == 0 || !strings.Contains(r.stderr, "open connections to others: 1") {
		t.Errorf("with a connection: exit code %d, %q", r.code, r.stderr)
	}
	_ = conn.Close()
	p.must("exec", name, "true") // it goes on
	p.must("checkpoint", name)
	if _, err := os.Lstat(published); !os.IsNotExist(err) {
		t.Errorf("the published socket of a container that was saved: %v", err)
	}
	p.must("restore", "-d", name)
	if err := echo.Use(published, "container", 3, 1000); err != nil {
		t.Error(err)
	}
	if out := p.must("exec", name, "echoes", "use", "/tmp/in", "host", "3", "1000"); out != "ok\n" {
		t.Errorf("from the container: %q", out)
	}
}
