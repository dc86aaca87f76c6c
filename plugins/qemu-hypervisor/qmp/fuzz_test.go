package qmp

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// FuzzMonitor has QEMU, which a guest may have taken over, say anything: the client ends when the monitor does, and waits for nothing that will not come.
func FuzzMonitor(f *testing.F) {
	f.Add([]byte(`{"QMP":{}}` + "\n" + `{"id":"1","return":{}}` + "\n" + `{"event":"SHUTDOWN","data":{"reason":"guest-reset"}}` + "\n"))
	f.Add([]byte(`{"QMP":{}}` + "\n" + `{"id":"1","error":{"class":"x","desc":"y"}}` + "\n" + `{"id":"1","return":[]}` + "\n" + `{"id":7}` + "\n"))
	f.Add([]byte("{\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		go func() {
			_, _ = far.Write(said)
			_ = far.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c, err := Open(ctx, near, func(Event) {})
		if err != nil {
			if ctx.Err() != nil {
				t.Error("it waits for ever")
			}
			return
		}
		var result struct{ Running bool }
		_ = c.Execute(ctx, "query-status", nil, &result)
		<-c.Done()
		_ = c.Close()
	})
}
