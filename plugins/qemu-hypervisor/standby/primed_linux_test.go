package standby

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
)

const within = 10 * time.Second

// priming is a primer whose VMs are none.
type priming struct {
	*primer
	t     *testing.T
	dir   string
	fail  error
	block chan struct{} // nil: priming takes no time
	ended chan struct{} // gets one for each VM that has ended
}

func newPriming(t *testing.T) *priming {
	p := &priming{t: t, dir: t.TempDir(), ended: make(chan struct{}, 100)}
	h := &Holder{Place: At(p.dir), Key: "00000000000000000000000000000000", Original: &fork.Original{},
		Descriptors: Descriptors{Monitor: 3, Mux: 4, Stderr: 2, Life: 5, Console: -1, Disks: []int{6}}}
	h.Prime = func(ctx context.Context, _ []Lasting, _ []*os.File, _ []string) (*Primed, error) {
		if p.block != nil {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if p.fail != nil {
			return nil, p.fail
		}
		return &Primed{Original: &fork.Original{}, Ended: func() { p.ended <- struct{}{} }}, nil
	}
	if err := os.Mkdir(h.Place.Dir(h.Key), 0o700); err != nil {
		t.Fatal(err)
	}
	p.primer = newPrimer(h)
	return p
}

// ask has a copy asked for with an image, and reports whether it is made of a VM that knows it.
func (p *priming) ask(image string) bool {
	p.t.Helper()
	path := filepath.Join(p.dir, image)
	if _, err := os.Stat(path); err != nil {
		if err := os.WriteFile(path, []byte(image), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	file, err := os.Open(path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	a := asking{request: request{Version: version, Disks: 1, Lasting: []Lasting{{Index: 0, Serial: "rootfs0"}}}, files: []*os.File{nil, nil, nil, nil, file}}
	original, _ := p.original(p.t.Context(), a)
	return original != p.holder.Original
}

// quietness lets what is wanted be done.
func (p *priming) quietness() {
	if p.wanted != nil {
		p.begin(p.t.Context())
		p.end(<-p.done)
	}
}

func (p *priming) noted() bool {
	_, err := os.Stat(filepath.Join(p.dir, primingName))
	return err == nil
}

// learn asks until the image is known.
func (p *priming) learn(image string) {
	p.t.Helper()
	for range primeAfter {
		p.ask(image)
	}
	p.quietness()
	if !p.ask(image) {
		p.t.Fatalf("image %s is not known", image)
	}
}

func TestAnImageThatIsAskedForAgainIsKnown(t *testing.T) {
	p := newPriming(t)
	if p.ask("a") || p.ask("b") || p.wanted != nil {
		t.Error("an image is known, or wanted, that was asked for once")
	}
	if p.ask("a") || p.wanted == nil {
		t.Error("an image that was asked for twice is not wanted")
	}
	p.quietness()
	if !p.ask("a") || p.ask("c") {
		t.Error("it is not the image that is known")
	}
}

func TestImagesGiveWayToOthers(t *testing.T) {
	p := newPriming(t)
	p.learn("a")
	p.learn("b")
	for range 2 * primeAfter {
		p.ask("c")
		p.quietness()
	}
	if p.ask("c") || !p.ask("a") || !p.ask("b") {
		t.Error("an image that is used gave way")
	}
	for _, m := range p.images {
		if m.primed != nil && m.asked > 0 {
			m.used = m.used.Add(-2 * primedRest)
		}
	}
	p.ask("b")
	p.learn("c")
	if p.ask("a") || !p.ask("b") {
		t.Error("another than the one that rested gave way")
	}
	select {
	case <-p.ended:
	case <-time.After(within):
		t.Error("its VM does not end")
	}
}

func TestAnImageThatFailsIsNotTriedAgain(t *testing.T) {
	p := newPriming(t)
	p.fail = errors.New("no")
	for range 3 * primeAfter {
		p.ask("bad")
		p.quietness()
	}
	if !p.noted() {
		t.Error("nothing says why")
	}
	p.fail = nil
	for range maxImages {
		p.ask("other")
		p.image(t.Name() + string(rune('a'+len(p.images)))).used = time.Now()
	}
	p.wanted = nil
	for range primeAfter {
		p.ask("bad")
	}
	if p.wanted != nil {
		t.Error("it is tried again")
	}
	p.learn("good")
	if m := p.image("nothing"); m.failed {
		t.Error("an image that nobody knows has failed")
	}
	p.primer.fail(p.holder.Original, errors.New("the original")) // is no image's
	if !p.ask("good") {
		t.Error("it is forgotten")
	}
}

func TestARemovedImageIsForgotten(t *testing.T) {
	p := newPriming(t)
	p.learn("a")
	if err := os.Remove(filepath.Join(p.dir, "a")); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-p.gone:
		p.forget(m)
	case <-time.After(within):
		t.Fatal("nobody tells")
	}
	if p.count() != 0 {
		t.Error("it is known")
	}
	t.Run("also if it was removed before it was watched", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "disk")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		removed, err := awaitUnlink(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-removed:
		case <-time.After(within):
			t.Error("nobody tells")
		}
	})
}

func TestTheEndOfAHolderIsNoFailure(t *testing.T) {
	p := newPriming(t)
	p.block = make(chan struct{})
	for range primeAfter {
		p.ask("a")
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.begin(ctx)
	cancel()
	p.close()
	if p.noted() {
		t.Error("it is told as one")
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	p := newPriming(t)
	for name, r := range map[string]request{
		"fewer files":     {Version: version, Disks: 1},
		"another version": {Version: version + 1},
		"other devices":   {Version: version, Disks: 2},
	} {
		if _, err := p.holder.plan(asking{request: r}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
