package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// monitorOf plays QEMU's end of a monitor: it greets, tells that the CPUs stand still, and answers each question with a status.
func monitorOf(conn net.Conn, status string) {
	fmt.Fprintln(conn, `{"QMP":{}}`)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var command struct{ Execute, ID string }
		if json.Unmarshal(lines.Bytes(), &command) != nil {
			return
		}
		fmt.Fprintf(conn, `{"id":%q,"return":{"status":%q}}`+"\n", command.ID, status)
		if command.Execute == "qmp_capabilities" {
			fmt.Fprintln(conn, `{"event":"STOP"}`)
		}
	}
}

func TestAVMThatCannotGoOnIsEndedAndSaysWhy(t *testing.T) {
	for status, ends := range map[string]bool{"internal-error": true, "paused": false} {
		t.Run(status, func(t *testing.T) {
			p := &process{exited: make(chan struct{}), greeted: make(chan struct{}), unlink: func() {}, cmd: exec.Command("sleep", "60")}
			p.kills = func() error { return killQEMU(p.cmd.Process) }
			if _, err := p.stderr.Write([]byte("KVM internal error. Suberror: 1\n")); err != nil {
				t.Fatal(err)
			}
			if err := p.run(holes{}, nil); err != nil {
				t.Fatal(err)
			}
			ours, theirs := net.Pipe()
			go func() {
				monitorOf(theirs, status)
				_ = theirs.Close()
			}()
			if err := p.greet(t.Context(), ours); err != nil {
				t.Fatal(err)
			}
			if !ends {
				select {
				case <-p.exited:
					t.Error("it was ended")
				case <-time.After(100 * time.Millisecond):
				}
				p.kill()
			}
			<-p.exited
			_ = theirs.Close() // as a QEMU that ends does
			exit := p.wait()
			if ended := exit.Reason == hypervisor.Crashed; ended != ends || ends && !strings.Contains(exit.Message, "cannot go on (internal-error); it said: KVM internal error. Suberror: 1") {
				t.Errorf("exit %+v", exit)
			}
		})
	}
}
