package launch

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

func TestTheProgramThatIsNotReadCanBeExecuted(t *testing.T) {
	program := Unreadable()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := program(); err != nil || again != file {
		t.Errorf("it is made again: %v, %v", again, err)
	}
	info, err := file.Stat()
	if err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	path := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	if out, err := exec.Command(path, "-test.run", "^$").CombinedOutput(); err != nil {
		t.Errorf("it is not executed: %v, %s", err, out)
	}
	if os.Geteuid() == 0 {
		return // who may read all
	}
	if _, err := os.Open(path); err == nil {
		t.Error("it can be read")
	}
}
