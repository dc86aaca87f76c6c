package fork_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
)

const patience = 20 * time.Second

// Descriptors that QEMU inherits.
const (
	monitorDescriptor  = 3
	handoverDescriptor = 4
	lifeDescriptor     = 5
)

// TestMain keeps from QEMU what this process has inherited: a copy would share it.
func TestMain(m *testing.M) {
	if err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// pair returns two connected sockets that do not block.
func pair(t *testing.T, kind int) (ours, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

// monitor speaks QMP.
type monitor struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Scanner
}

func newMonitor(t *testing.T, file *os.File) *monitor {
	t.Helper()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &monitor{t, conn, bufio.NewScanner(conn)}
}

// next returns the next message that has a key.
func (m *monitor) next(key string) map[string]any {
	m.t.Helper()
	if err := m.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	for m.lines.Scan() {
		var message map[string]any
		if err := json.Unmarshal(m.lines.Bytes(), &message); err != nil {
			m.t.Fatal(err)
		}
		if _, has := message[key]; has {
			return message
		}
	}
	m.t.Fatalf("QEMU has said no %s: %v", key, m.lines.Err())
	return nil
}

func (m *monitor) execute(command string) any {
	m.t.Helper()
	if _, err := fmt.Fprintf(m.conn, `{"execute": %q}`+"\n", command); err != nil {
		m.t.Fatal(err)
	}
	return m.next("return")["return"]
}

// original starts a QEMU without a machine's CPUs running, and takes it.
func original(t *testing.T) (*fork.Original, *exec.Cmd) {
	t.Helper()
	ours, theirs := pair(t, unix.SOCK_STREAM)
	handover, inherited := pair(t, unix.SOCK_SEQPACKET)
	life, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-system-x86_64", "-name", "0000000000", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "microvm", "-accel", "tcg", "-m", "64M", "-S",
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control")
	cmd.ExtraFiles = []*os.File{theirs, inherited, life}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = inherited.Close()
	m := newMonitor(t, ours)
	m.next("QMP")
	m.execute("qmp_capabilities")
	dup, err := unix.Dup(int(handover.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	o, err := fork.Take(cmd.Process.Pid, []int{monitorDescriptor, lifeDescriptor}, handoverDescriptor, os.NewFile(uintptr(dup), "handover"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.Release()
		_ = cmd.Wait()
	})
	return o, cmd
}

// copyOf makes a copy with a monitor of its own, and a pipe whose end ends it.
func copyOf(t *testing.T, o *fork.Original, name string) (pid int, m *monitor, life *os.File) {
	t.Helper()
	ours, theirs := pair(t, unix.SOCK_STREAM)
	reading, life, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pid, err = o.Copy(fork.Plan{Files: map[int]*os.File{monitorDescriptor: theirs, lifeDescriptor: reading}, DieWith: lifeDescriptor, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = theirs.Close(), reading.Close()
	t.Cleanup(func() { _ = life.Close() })
	return pid, newMonitor(t, ours), life
}

func awaitEnd(t *testing.T, pid int) unix.WaitStatus {
	t.Helper()
	ended := make(chan unix.WaitStatus, 1)
	go func() {
		var status unix.WaitStatus
		for {
			if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
				ended <- status
				return
			}
		}
	}()
	select {
	case status := <-ended:
		return status
	case <-time.After(patience):
		t.Fatalf("process %d does not end", pid)
		return 0
	}
}

func TestCopiesLiveTheirOwnLives(t *testing.T) {
	o, _ := original(t)
	var pids []int
	var monitors []*monitor
	for i := range 3 {
		pid, m, _ := copyOf(t, o, fmt.Sprintf("copy-%05d", i))
		pids, monitors = append(pids, pid), append(monitors, m)
	}
	for i, m := range monitors {
		status := m.execute("query-status").(map[string]any)
		if status["status"] != "prelaunch" {
			t.Errorf("copy %d: %v", i, status)
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pids[i]))
		if want := fmt.Sprintf("-name\x00copy-%05d\x00", i); err != nil || !strings.Contains(string(line), want) {
			t.Errorf("copy %d is called %q, %v", i, line, err)
		}
	}
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || !strings.Contains(string(status), "\nNoNewPrivs:\t1\nSeccomp:\t2\n") {
			t.Errorf("a copy is not restricted: %s, %v", status, err)
		}
	}
	monitors[0].execute("quit")
	if status := awaitEnd(t, pids[0]); !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("the copy that was to quit ended with %v", status)
	}
	monitors[1].execute("cont") // makes its virtual CPU run: that is a thread that was copied
	if status := monitors[1].execute("query-status").(map[string]any); status["running"] != true {
		t.Errorf("the second copy is %v", status)
	}
	if status := monitors[2].execute("query-status").(map[string]any); status["running"] != false {
		t.Errorf("the third copy is %v, as the second has gone on", status)
	}
}

func TestACopyThatIsBegunIsTheNext(t *testing.T) {
	o, cmd := original(t)
	others := children(t, nil)
	for i := range 3 {
		if err := errors.Join(o.Park(), o.Park()); err != nil {
			t.Fatal(err)
		}
		begun := children(t, others)
		name := fmt.Sprintf("copy-%05d", i)
		pid, m, _ := copyOf(t, o, name)
		if len(begun) != 1 || begun[0] != pid {
			t.Errorf("process %d was made; begun were %v", pid, begun)
		}
		m.execute("query-status")
		m.execute("quit")
		awaitEnd(t, pid)
	}
	if err := o.Park(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(children(t, others)[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	pid, m, _ := copyOf(t, o, "") // another is made
	m.execute("query-status")
	if err := o.Park(); err != nil {
		t.Fatal(err)
	}
	o.Release()
	_ = cmd.Wait()
	if left := children(t, others); len(left) != 1 || left[0] != pid {
		t.Errorf("of %v only %d should be left", left, pid)
	}
}

func TestACopyThatIsBegunHasThePagesThatAreForeseen(t *testing.T) {
	o, _ := original(t)
	written := func(pid int) fork.Pages {
		pages, err := o.Written(pid)
		if err != nil {
			t.Fatal(err)
		}
		return pages
	}
	pid, m, _ := copyOf(t, o, "")
	m.execute("query-status")
	foreseen := written(pid)
	if len(foreseen) == 0 || !slices.IsSorted(foreseen) {
		t.Fatalf("a copy that has answered has written to %d pages", len(foreseen))
	}
	others := children(t, nil)
	o.Foresee(foreseen)
	if err := o.Park(); err != nil {
		t.Fatal(err)
	}
	begun := children(t, others)
	if len(begun) != 1 {
		t.Fatalf("begun are %v", begun)
	}
	if missing := len(foreseen) - len(written(begun[0]).Common(foreseen)); missing > 0 {
		t.Errorf("of %d pages %d are missing", len(foreseen), missing)
	}
	if again, m, _ := copyOf(t, o, ""); again != begun[0] {
		t.Errorf("process %d was made; begun was %d", again, begun[0])
	} else {
		m.execute("query-status")
		m.execute("quit")
		awaitEnd(t, again)
		if pages, err := o.Written(again); err == nil {
			t.Errorf("a process that has ended has %d pages", len(pages))
		}
	}
	o.Foresee(fork.Pages{0, 4096}) // where there is nothing
	if err := o.Park(); err != nil {
		t.Fatal(err)
	}
	_, m, _ = copyOf(t, o, "")
	m.execute("query-status")
}

func TestPagesInCommon(t *testing.T) {
	if got := (fork.Pages{1, 3, 5}).Common(fork.Pages{0, 3, 4, 5, 9}); !slices.Equal(got, fork.Pages{3, 5}) {
		t.Errorf("%v", got)
	}
	if got := (fork.Pages{1}).Common(nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// children are this process's QEMUs that have not been waited for, without some.
func children(t *testing.T, without []int) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var pid, parent int
		var state string
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		if _, err := fmt.Sscanf(string(stat), "%d (qemu-system-x86) %s %d", &pid, &state, &parent); err == nil && parent == os.Getpid() && !slices.Contains(without, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestACopyEndsWithItsOwner(t *testing.T) {
	o, _ := original(t)
	pid, m, life := copyOf(t, o, "")
	m.execute("query-status")
	if err := life.Close(); err != nil {
		t.Fatal(err)
	}
	if status := awaitEnd(t, pid); status.Signal() != unix.SIGKILL {
		t.Errorf("it ended with %v", status)
	}
}

// TestACopyIsCopiedInTurn has a copy do something before it is taken.
func TestACopyIsCopiedInTurn(t *testing.T) {
	o, _ := original(t)
	ours, theirs := pair(t, unix.SOCK_STREAM)
	handover, inherited := pair(t, unix.SOCK_SEQPACKET)
	reading, life, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = reading.Close(), life.Close() }()
	pid, err := o.Copy(fork.Plan{Files: map[int]*os.File{monitorDescriptor: theirs, lifeDescriptor: reading}, DieWith: lifeDescriptor, Handover: inherited})
	if err != nil {
		t.Fatal(err)
	}
	m := newMonitor(t, ours)
	m.execute("cont")
	m.execute("stop")
	dup, err := unix.Dup(int(handover.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	again, err := o.Again(pid, os.NewFile(uintptr(dup), "handover"))
	if err != nil {
		t.Fatal(err)
	}
	for who, want := range map[*fork.Original]string{o: "prelaunch", again: "paused"} {
		for i := range 2 {
			name := fmt.Sprintf("copy-%05d", i)
			copied, m, _ := copyOf(t, who, name)
			if status := m.execute("query-status").(map[string]any); status["status"] != want {
				t.Errorf("copy %d is %v; want %q", i, status, want)
			}
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", copied))
			if err != nil || !strings.Contains(string(line), "-name\x00"+name+"\x00") {
				t.Errorf("copy %d is called %q, %v", i, line, err)
			}
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", copied))
			if err != nil || !strings.Contains(string(status), "\nNoNewPrivs:\t1\nSeccomp:\t2\n") {
				t.Errorf("copy %d is not restricted: %s, %v", i, status, err)
			}
		}
	}
	_, last, _ := copyOf(t, again, "")
	again.Release()
	if status := awaitEnd(t, pid); status.Signal() != unix.SIGKILL {
		t.Errorf("it ended with %v", status)
	}
	last.execute("cont")
}

func TestCopiesOutliveTheOriginal(t *testing.T) {
	o, cmd := original(t)
	_, m, _ := copyOf(t, o, "")
	o.Release()
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the original ended with %v", err)
	}
	m.execute("query-status")
}

// TestACopyThatFailsLeavesNothing gives a copy a descriptor that the original does not have, by which it is to die.
func TestACopyThatFailsLeavesNothing(t *testing.T) {
	o, _ := original(t)
	for range 3 {
		if pid, err := o.Copy(fork.Plan{DieWith: 1000}); err == nil {
			t.Fatalf("copy %d was made", pid)
		}
	}
	pid, m, life := copyOf(t, o, "")
	m.execute("query-status")
	if err := life.Close(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, pid)
}

// TestACopyWhoseOwnerIsGoneIsNotMade has the owner end while the copy is made.
func TestACopyWhoseOwnerIsGoneIsNotMade(t *testing.T) {
	o, _ := original(t)
	_, theirs := pair(t, unix.SOCK_STREAM)
	reading, life, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := life.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reading.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The kernel tells of an end that comes after it was asked to, so this one may live; it is the holder who looks.
		if pid, err := o.Copy(fork.Plan{Files: map[int]*os.File{monitorDescriptor: theirs, lifeDescriptor: reading}, DieWith: lifeDescriptor}); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("it is made for ever")
	}
}

func TestWhatIsNotAProcessIsNotTaken(t *testing.T) {
	_, theirs := pair(t, unix.SOCK_SEQPACKET)
	if _, err := fork.Take(1<<22+1, nil, handoverDescriptor, theirs); err == nil {
		t.Error("no error")
	}
}
