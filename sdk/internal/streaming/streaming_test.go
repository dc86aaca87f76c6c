package streaming

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk/internal/filltest"
	"github.com/vzctl/vzctl/sdk/progress"
	kernelv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/kernel/v1"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

// recorder is a stream on which concurrent sends are a race.
type recorder struct {
	grpc.ServerStreamingServer[kernelv1.EnsureResponse]
	sent []string
}

func (r *recorder) Send(m *kernelv1.EnsureResponse) error {
	if p := m.GetProgress(); p != nil {
		r.sent = append(r.sent, fmt.Sprint(p.Item, " ", p.Done))
	} else {
		r.sent = append(r.sent, "result")
	}
	return nil
}

func wrap(p *pluginv1.Progress) *kernelv1.EnsureResponse {
	return &kernelv1.EnsureResponse{Of: &kernelv1.EnsureResponse_Progress{Progress: p}}
}

var result = &kernelv1.EnsureResponse{Of: &kernelv1.EnsureResponse_Result{Result: &kernelv1.Kernel{}}}

func TestProgressMayComeFromAnyGoroutineAndEndsWithTheResult(t *testing.T) {
	r := &recorder{}
	var late progress.Func
	err := Serve(r, wrap, func(report progress.Func) (*kernelv1.EnsureResponse, error) {
		late = report
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() { report(progress.Update{Item: fmt.Sprint(i), Done: 1, Total: 1}) })
		}
		all.Wait()
		return result, nil
	})
	late(progress.Update{Item: "late"})
	if err != nil || len(r.sent) != 9 || r.sent[8] != "result" {
		t.Errorf("sent %v, %v", r.sent, err)
	}
}

func TestFastProgressIsThinnedButNeverItsEnd(t *testing.T) {
	r := &recorder{}
	_ = Serve(r, wrap, func(report progress.Func) (*kernelv1.EnsureResponse, error) {
		for i := range int64(10000) {
			report(progress.Update{Item: "bytes", Done: i + 1, Total: 10000})
		}
		return result, nil
	})
	if len(r.sent) > 1000 || r.sent[0] != "bytes 1" || r.sent[len(r.sent)-2] != "bytes 10000" {
		t.Errorf("sent %d updates, %s first, %s last", len(r.sent), r.sent[0], r.sent[len(r.sent)-2])
	}
}

func TestAFailureSendsNoResult(t *testing.T) {
	r := &recorder{}
	err := Serve(r, wrap, func(progress.Func) (*kernelv1.EnsureResponse, error) { return result, errors.New("no") })
	if err == nil || strings.Contains(fmt.Sprint(r.sent), "result") {
		t.Errorf("sent %v, %v", r.sent, err)
	}
}

func TestProgressKeepsEveryField(t *testing.T) {
	units := filltest.Values{reflect.TypeFor[progress.Unit](): func(n int) any { return []progress.Unit{progress.Bytes, progress.Items}[n%2] }}
	filltest.RoundTrip(t, "progress", units, nil, func(u progress.Update) progress.Update { return ProgressFromProto(ProgressToProto(u)) })
}
