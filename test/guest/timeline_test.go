package guest

import (
	"testing"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// TestTimeline prints where the time of a cold start goes: by the clock, and by the guest's own, which under -icount counts its instructions (a
// nanosecond each) and does not depend on the load of the host.
func TestVMTimeline(t *testing.T) {
	image, layer := Image(t).Named("rootfs0"), Layer(t).Named("layer")
	Initrd(t)
	for _, mode := range []struct {
		name      string
		arguments []string
	}{{"clock", nil}, {"instructions", []string{"-icount", "shift=0,sleep=off"}}} {
		t.Run(mode.name, func(t *testing.T) {
			g := Connect(t, Boot(t, Options{Disks: []Disk{image, layer}, Arguments: mode.arguments}))
			begun, guestBegun := time.Now(), time.Duration(0)
			step := func(name string) {
				hello, err := g.Hello(t.Context(), &guestv1.HelloRequest{})
				if err != nil {
					t.Fatal(err)
				}
				uptime := time.Duration(hello.UptimeNanoseconds)
				if guestBegun == 0 {
					t.Logf("%-10s %6.1f ms of the guest after the kernel's start, to vminitd", name, milliseconds(time.Duration(hello.InitUptimeNanoseconds)))
					guestBegun = time.Duration(hello.InitUptimeNanoseconds)
				}
				t.Logf("%-10s %6.1f ms, %6.1f ms of the guest", name, milliseconds(time.Since(begun)), milliseconds(uptime-guestBegun))
				begun, guestBegun = time.Now(), uptime
			}
			t.Logf("exec of QEMU to ready: %.1f ms", milliseconds(g.Ready.Sub(g.Started)))
			step("hello")
			step("hello")
			if err := g.adopt(); err != nil {
				t.Fatal(err)
			}
			step("adopt")
			if err := g.Create(Container{ID: "c", Args: []string{"/bin/true"}}); err != nil {
				t.Fatal(err)
			}
			step("create")
			if err := g.Start("c", "init"); err != nil {
				t.Fatal(err)
			}
			step("start")
			g.Wait("c", "init")
			step("wait")
			if _, err := g.Shutdown(t.Context(), &guestv1.ShutdownRequest{}); err != nil {
				t.Fatal(err)
			}
			t.Logf("shutdown %.1f ms", milliseconds(time.Since(begun)))
			<-g.Ended()
			t.Logf("off      %.1f ms", milliseconds(time.Since(begun)))
		})
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
