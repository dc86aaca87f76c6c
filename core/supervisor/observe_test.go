package supervisor

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

func (g fakeGuest) ContainerStats(ctx context.Context, r *guestv1.ContainerStatsRequest, _ ...grpc.CallOption) (*guestv1.ContainerStatsResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.ContainerId == "" {
		return nil, errors.New("no container is named")
	}
	return &guestv1.ContainerStatsResponse{UptimeNanoseconds: 1, CpuNanoseconds: 2, CpuSystemNanoseconds: 3, MemoryBytes: 4, MemoryReclaimableBytes: 5, MemoryLimitBytes: 6,
		Pids: 7, PidsLimit: 8, BlockReadBytes: 9, BlockWriteBytes: 10, NetworkReceiveBytes: 11, NetworkSendBytes: 12, NetworkReceivePackets: 13,
		NetworkSendPackets: 14}, errors.Join(g.fail["stats"], ctx.Err())
}

// parts are the answers of a guest; a nil one repeats the one before for ever.
type parts struct {
	grpc.ClientStream
	left []*guestv1.ListProcessesResponse
	last *guestv1.ListProcessesResponse
}

func (p *parts) Recv() (*guestv1.ListProcessesResponse, error) {
	if len(p.left) == 0 {
		return nil, io.EOF
	}
	if p.left[0] == nil {
		return p.last, nil
	}
	p.last, p.left = p.left[0], p.left[1:]
	return p.last, nil
}

func (g fakeGuest) ListProcesses(context.Context, *guestv1.ListProcessesRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[guestv1.ListProcessesResponse], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := &guestv1.ListProcessesResponse{Processes: []*guestv1.ContainerProcess{
		{Pid: 1, ParentPid: 0, UserId: 3, User: "app", State: "S", CpuNanoseconds: 4, AgeNanoseconds: 5, ResidentBytes: 6, Terminal: "pts/0", Command: "sh"}}}
	second := &guestv1.ListProcessesResponse{Processes: []*guestv1.ContainerProcess{{Pid: 2, ParentPid: 1}}}
	if g.fail["processes"] != nil {
		return &parts{left: []*guestv1.ListProcessesResponse{second, nil}}, nil
	}
	return &parts{left: []*guestv1.ListProcessesResponse{first, second}}, nil
}

func TestStatsComeUntilTheContainerHasEnded(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	looks := 0
	err := r.client.Stats(r.context(), minInterval, func(s *supervisorv1.StatsResponse) error {
		if looks++; looks == 3 {
			r.vm.exits(&guestv1.Exit{})
		}
		if s.UptimeNanoseconds != 1 || s.CpuNanoseconds != 2 || s.CpuSystemNanoseconds != 3 || s.MemoryBytes != 4 || s.MemoryReclaimableBytes != 5 || s.MemoryLimitBytes != 6 ||
			s.Pids != 7 || s.PidsLimit != 8 || s.BlockReadBytes != 9 || s.BlockWriteBytes != 10 || s.NetworkReceiveBytes != 11 || s.NetworkSendBytes != 12 ||
			s.NetworkReceivePackets != 13 || s.NetworkSendPackets != 14 {
			t.Errorf("%v", s)
		}
		return nil
	})
	if err != nil || looks < 3 {
		t.Errorf("%d looks, %v", looks, err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestStatsEndWithWhoAsksAndSayWhyTheyFail(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	enough := errors.New("enough")
	if err := r.client.Stats(r.context(), time.Hour, func(*supervisorv1.StatsResponse) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
	if err := r.client.Stats(r.context(), time.Millisecond, nil); !errors.Is(err, fault.Invalid) {
		t.Errorf("every millisecond: %v", err)
	}
	ctx, cancel := context.WithTimeout(r.context(), 10*time.Second)
	defer cancel()
	r.vm.mu.Lock()
	r.vm.fail["stats"] = errors.New("no cgroup")
	r.vm.mu.Unlock()
	if err := r.client.Stats(ctx, time.Hour, nil); err == nil || !strings.Contains(err.Error(), "no cgroup") {
		t.Errorf("error %v", err)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestTopHasAllPartsAndAGuestThatNeverEndsIsCutOff(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	all, err := r.client.Top(r.context())
	if err != nil || len(all) != 2 || all[1].Pid != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	if p := all[0]; p.Pid != 1 || p.UserId != 3 || p.User != "app" || p.State != "S" || p.CpuNanoseconds != 4 || p.AgeNanoseconds != 5 || p.ResidentBytes != 6 ||
		p.Terminal != "pts/0" || p.Command != "sh" || all[1].ParentPid != 1 {
		t.Errorf("%v", p)
	}
	r.vm.mu.Lock()
	r.vm.fail["processes"] = errors.New("it goes on for ever")
	r.vm.mu.Unlock()
	if _, err := r.client.Top(r.context()); err == nil || !strings.Contains(err.Error(), "more than 65536 processes") {
		t.Errorf("error %v", err)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestTheInputOfATerminalStaysOpenForWhoComesNext(t *testing.T) {
	r := newRig(t, nil)
	r.s.container.Process.StdinOpen, r.s.container.Process.Terminal = true, true
	r.start()
	terminal := r.vm.stream(guestv1.StreamKind_STREAM_KIND_TERMINAL)
	for _, word := range []string{"first", "again"} {
		stdin, err := r.client.OpenStream(r.context(), "", Stdin, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(stdin, word); err != nil {
			t.Fatal(err)
		}
		stdin.Close()
		got := make([]byte, len(word))
		if _, err := io.ReadFull(terminal, got); err != nil || string(got) != word {
			t.Errorf("%q, %v; want %q", got, err, word)
		}
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestAPausedContainerUsesWhatItHadAndIsNotAskedAnew(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	looks := 0
	err := r.client.Stats(r.context(), minInterval, func(*supervisorv1.StatsResponse) error {
		switch looks++; looks {
		case 1:
			if err := r.client.Pause(r.context()); err != nil {
				t.Error(err)
			}
			r.vm.mu.Lock()
			r.vm.fail["stats"] = errors.New("the guest was asked")
			r.vm.mu.Unlock()
		case 4:
			if err := r.client.Stats(r.context(), minInterval, nil); err == nil || !strings.Contains(err.Error(), `cannot observe container "web": it is paused`) {
				t.Errorf("a new look: %v", err)
			}
			if _, err := r.client.Top(r.context()); err == nil || !strings.Contains(err.Error(), `cannot observe container "web": it is paused`) {
				t.Errorf("processes: %v", err)
			}
			r.vm.mu.Lock()
			delete(r.vm.fail, "stats")
			r.vm.mu.Unlock()
			if err := r.client.Unpause(r.context()); err != nil {
				t.Error(err)
			}
		case 6:
			r.vm.exits(&guestv1.Exit{})
		}
		return nil
	})
	if err != nil || looks < 6 {
		t.Errorf("%d looks, %v", looks, err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}
