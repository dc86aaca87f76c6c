package vm

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest/port"
)

// BenchmarkVMBoot tells where the time of a cold start goes, with and without a console: Create, Start (QEMU up to its greeting), and the guest's ready
// signal; the least of all rounds, as the machine is rarely idle.
func BenchmarkVMBoot(b *testing.B) {
	for name, console := range map[string]bool{"Console": true, "NoConsole": false} {
		b.Run(name, func(b *testing.B) {
			m := newManager(b)
			var create, start, ready []time.Duration
			for i := 0; b.Loop(); i++ {
				spec := specOf(b, fmt.Sprintf("vm%d", i))
				if !console {
					spec.ConsolePath = ""
				}
				begun := time.Now()
				vm, err := m.Create(b.Context(), "r", spec)
				if err != nil {
					b.Fatal(err)
				}
				create = append(create, time.Since(begun))
				listener, err := net.Listen("unix", fmt.Sprintf("%s_%d", vm.VsockPath, port.Ready))
				if err != nil {
					b.Fatal(err)
				}
				begun = time.Now()
				if _, err := m.Start(within(b, bootDeadline), spec.ID); err != nil {
					b.Fatal(err)
				}
				start = append(start, time.Since(begun))
				if _, err := listener.Accept(); err != nil {
					b.Fatal(err)
				}
				ready = append(ready, time.Since(begun))
				_ = listener.Close()
				if err := m.Delete(within(b, bootDeadline), "d", spec.ID); err != nil {
					b.Fatal(err)
				}
			}
			for name, times := range map[string][]time.Duration{"create-ms": create, "start-ms": start, "ready-ms": ready} {
				b.ReportMetric(float64(slices.Min(times).Microseconds())/1000, name)
			}
		})
	}
}
