package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// What a process writes that ends soon comes with its end; that of others over streams that are opened after it has begun. Nobody can tell which it was.
func TestE2EABriefProcessIsHeardAsAnyOther(t *testing.T) {
	for _, size := range []int{0, 1, 64 << 10, 1 << 20} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			p := me(t)
			name := p.name()
			r := p.vzctl("run", "--name", name, p.desk.busybox, "sh", "-c",
				fmt.Sprintf(`head -c %d /dev/zero | tr '\0' o; head -c %d /dev/zero | tr '\0' e >&2; exit 7`, size, size))
			heard(t, "run", r, size, size, 7)
			heard(t, "logs", p.vzctl("logs", name), size, size, 0)
		})
	}
	t.Run("one that ends as its streams are opened", func(t *testing.T) {
		p := me(t)
		for _, pause := range []string{"0.00", "0.01", "0.02", "0.03", "0.04", "0.05"} {
			r := p.vzctl("run", "--rm", p.desk.busybox, "sh", "-c", "printf o; printf e >&2; sleep "+pause+"; printf o; printf e >&2; exit 7")
			heard(t, "after "+pause+" s", r, 2, 2, 7)
		}
	})
	t.Run("one that closes its output and goes on", func(t *testing.T) {
		p := me(t)
		r := p.vzctl("run", "--rm", p.desk.busybox, "sh", "-c", "printf o; exec >&-; sleep 0.2; printf e >&2; exit 7")
		heard(t, "run", r, 1, 1, 7)
	})
}

// heard wants so many o on stdout and e on stderr.
func heard(t *testing.T, what string, r result, stdout, stderr, code int) {
	t.Helper()
	if r.stdout != strings.Repeat("o", stdout) || r.stderr != strings.Repeat("e", stderr) || r.code != code {
		t.Errorf("%s: %d and %d bytes, or others, and exit code %d; want %d, %d and %d\n%.500s", what, len(r.stdout), len(r.stderr), r.code, stdout, stderr, code, r.stderr)
	}
}

func TestE2EADetachedProcessIsHeardFromItsBeginning(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", "echo begins; while [ ! -e /go ]; do sleep 0.1; done; echo ends; exit 5")
	ended := make(chan result, 2)
	for _, args := range [][]string{{"logs", "-f", name}, {"attach", name}} {
		go func() { ended <- p.vzctl(args...) }()
	}
	p.must("exec", name, "touch", "/go")
	for range 2 {
		switch r := <-ended; {
		case r.code == 0 && r.stdout == "begins\nends\n": // the log
		case r.code == 5 && strings.HasSuffix("begins\nends\n", r.stdout): // one who may have come late
		default:
			t.Errorf("%+v", r)
		}
	}
}

func TestE2EAContainerMayBeMadeToStandStillAsSoonAsItRuns(t *testing.T) {
	t.Run("checkpoint", func(t *testing.T) {
		p := me(t)
		name := p.name()
		p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", counting)
		p.must("checkpoint", name)
		at := p.counted(name)
		p.must("restore", "-d", name)
		p.counts(name, at+3)
	})
	t.Run("pause", func(t *testing.T) {
		p := me(t)
		name := p.name()
		p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", counting)
		p.must("pause", name)
		at := p.counted(name)
		p.must("unpause", name)
		p.counts(name, at+3)
		p.must("stop", "-t", "0", name)
		p.counted(name)
	})
}
