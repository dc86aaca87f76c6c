package boottest

import (
	"os"
	"testing"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// TestTimeline prints where the time of a cold start goes.
func TestTimeline(t *testing.T) {
	image, layer := Image(t).Named("rootfs0"), Layer(t).Named("layer")
	Initrd(t)
	for range 5 {
		g := Start(t, Options{Disks: []Disk{image, layer}, Words: os.Getenv("BOOT_WORDS")})
		hello, err := g.Hello(t.Context(), &guestv1.HelloRequest{})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		kernel := time.Duration(hello.InitUptimeNanoseconds)
		begun := time.Now()
		lap := func() time.Duration {
			d := time.Since(begun)
			begun = time.Now()
			return d.Round(100 * time.Microsecond)
		}
		if err := g.Create(Container{ID: "c", Args: []string{"/bin/true"}}); err != nil {
			t.Fatal(err)
		}
		create := lap()
		if err := g.Start("c", "init"); err != nil {
			t.Fatal(err)
		}
		start := lap()
		g.Wait("c", "init")
		wait := lap()
		if _, err := g.Shutdown(t.Context(), &guestv1.ShutdownRequest{}); err != nil {
			t.Fatal(err)
		}
		shutdown := lap()
		<-g.Ended()
		t.Logf("kernel starts to vminitd runs %v; exec of QEMU to ready %v; ready to adopted %v; create %v; start %v; wait %v; shutdown %v; off %v", kernel.Round(time.Millisecond),
			g.Ready.Sub(g.Started).Round(time.Millisecond), now.Sub(g.Ready).Round(time.Millisecond), create, start, wait, shutdown, lap())
		if os.Getenv("BOOT_WORDS") != "" {
			t.Log(g.Console())
		}
	}
}
