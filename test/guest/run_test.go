package guest

import (
	"os"
	"testing"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := Clean(); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func TestVMEchoFromBootToPowerOff(t *testing.T) {
	begun := time.Now()
	step := func(name string) {
		t.Logf("%-16s %7.1f ms", name, float64(time.Since(begun).Microseconds())/1000)
		begun = time.Now()
	}
	image, layer := Image(t).Named("rootfs0"), Layer(t).Named("layer")
	Initrd(t)
	step("disks, build")
	g := Start(t, Options{Disks: []Disk{image, layer}})
	t.Logf("exec of QEMU to its connection %v", g.Ready.Sub(g.Started))
	step("boot, adopt")
	if err := g.Create(Container{ID: "c1", Args: []string{"echo", "hello"}}); err != nil {
		t.Fatal(err)
	}
	step("create")
	result, err := g.Finish("c1", "init", nil)
	if err != nil {
		t.Fatal(err)
	}
	step("run")
	if result.Stdout != "hello\n" || result.Stderr != "" || result.Exit.Code != 0 {
		t.Errorf("%+v", result)
	}
	if _, err := g.Shutdown(t.Context(), &guestv1.ShutdownRequest{}); err != nil {
		t.Fatal(err)
	}
	step("shutdown")
	select {
	case <-g.Ended():
	case <-time.After(10 * time.Second):
		t.Fatal("the VM does not power off")
	}
	step("power-off")
}
