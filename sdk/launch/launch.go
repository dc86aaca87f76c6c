// Package launch is the host's end of plugins: it starts a plugin's program, talks to it, notices how it ends, and leaves no process and no file
// of it behind. Start with [Start].
//
// It does not choose programs and knows no kind's calls: that is core/pluginhost, and the NewClient functions of the kinds' packages.
package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// Defaults of Options.
const (
	DefaultStartTimeout = 10 * time.Second
	DefaultCallTimeout  = 60 * time.Second
	DefaultStopGrace    = sdk.ShutdownTimeout + 2*time.Second
)

// Options of one plugin process.
type Options struct {
	// Path of the program.
	Path string
	// Kind the plugin must be of; empty: any.
	Kind sdk.Kind
	// RuntimeDir takes the plugin's socket and is its TMPDIR. A short path, mode 0700, ours; it stays the caller's to remove.
	RuntimeDir string
	// Env has "KEY=value" for this plugin beside the few variables every plugin gets: PATH, HOME, LANG, LC_ALL, TZ, TMPDIR. Image sources and kernel
	// providers get those of proxies and certificates as well.
	Env []string
	// Log takes the plugin's log lines under the plugin's name, each with its level. Nil: they are dropped.
	Log hclog.Logger
	// SHA256 the program must have, in hex; empty: any. Whoever can write to the program between check and start can still change it.
	SHA256 string
	// Sums remembers digests of unchanged files; nil: the program is read each time. Only with SHA256.
	Sums SumCache
	// StartTimeout bounds start, handshake and first answer together; CallTimeout unary calls whose context has no deadline; StopGrace is what
	// Close gives the plugin before it is killed. 0: the defaults above.
	StartTimeout, CallTimeout, StopGrace time.Duration
}

// Process is a running plugin that answered once.
type Process struct {
	info     sdk.Info
	protocol uint32
	conn     grpc.ClientConnInterface
	child    *child
	client   *grpc.ClientConn
	grace    time.Duration
	closing  sync.Once
	closed   error
}

// Start runs a plugin and asks what it is. An error is a *fault.Error that says what the plugin did instead of answering, with its last words;
// nothing of the plugin is left then. The plugin ends when Close is called, and when this process ends, whatever ends it.
func Start(ctx context.Context, o Options) (*Process, error) {
	o = o.withDefaults()
	failed := func(reason fault.Reason, cause error, hint string) error {
		return &fault.Error{Reason: reason, Op: "start plugin", Subject: filepath.Base(o.Path), Cause: cause, Hint: hint}
	}
	if err := checkRuntimeDir(o.RuntimeDir); err != nil {
		return nil, failed(fault.Invalid, err, "")
	}
	path, err := filepath.Abs(o.Path) // the plugin works in its runtime directory
	if err != nil {
		return nil, failed(fault.Invalid, err, "")
	}
	o.Path = path
	if o.SHA256 != "" {
		sum, err := sha256Of(o.Path, o.Sums)
		if err != nil {
			return nil, failed(reasonOfStart(err), err, "")
		}
		if !strings.EqualFold(sum, o.SHA256) {
			return nil, failed(fault.DigestMismatch, fmt.Errorf("its SHA-256 is %s, not the pinned %s", sum, o.SHA256), "pin the new digest if you trust the change")
		}
	}
	limited, cancel := context.WithTimeout(ctx, o.StartTimeout)
	defer cancel()
	p, err := start(limited, o)
	if err == nil {
		return p, nil
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("start plugin %q: %w", filepath.Base(o.Path), ctx.Err())
	case limited.Err() != nil && fault.ReasonOf(err) != fault.Invalid:
		return nil, failed(fault.Unavailable, fmt.Errorf("it gave no answer within %s: %w", o.StartTimeout, context.DeadlineExceeded), "")
	}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return nil, failed(e.Reason, e.Cause, e.Hint)
	}
	return nil, failed(reasonOfStart(err), err, "")
}

func start(ctx context.Context, o Options) (p *Process, err error) {
	c, err := newChild(o)
	if err != nil {
		return nil, err
	}
	if err := c.start(); err != nil {
		c.remove()
		return nil, err
	}
	// All that follows is on its way while the plugin's process is made.
	listening := sync.OnceValues(c.listen)
	conn, err := connect(listening, o.StartTimeout)
	if err != nil {
		c.kill()
		c.remove()
		return nil, err
	}
	defer func() {
		if err != nil {
			c.kill()
			_ = conn.Close() // the error is known
			c.remove()
		}
	}()
	defer context.AfterFunc(ctx, c.kill)()
	p = &Process{child: c, client: conn, grace: o.StopGrace}
	peer := rpc.Peer{Name: fmt.Sprintf("plugin %q", filepath.Base(o.Path)), Timeout: o.CallTimeout, Gone: c.gone, LastWords: c.lastWords}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if _, err := listening(); err != nil {
			cancel()
		}
	}()
	response, err := pluginv1.NewPluginClient(rpc.Wrap(conn, peer)).Info(asking, &pluginv1.InfoRequest{})
	if err != nil {
		if _, failed := listening(); failed != nil {
			err = failed
		}
	}
	if err == nil {
		p.info, err = sdk.InfoFromProto(response)
	}
	if err == nil {
		p.protocol, err = accept(p.info, o.Kind)
	}
	if err != nil {
		return nil, err
	}
	go c.syncOutput(conn)
	peer.Name = fmt.Sprintf("plugin %q", p.info.Name)
	p.conn = rpc.Wrap(conn, peer)
	return p, nil
}

// accept returns the newest protocol version both sides speak.
func accept(info sdk.Info, kind sdk.Kind) (uint32, error) {
	if kind != "" && info.Kind != kind {
		return 0, &fault.Error{Reason: fault.Invalid, Cause: fmt.Errorf("plugin %q is a %s, and a %s is wanted", info.Name, info.Kind, kind)}
	}
	for version := sdk.ProtocolVersion; version > 0; version-- {
		if slices.Contains(info.ProtocolVersions, version) {
			return version, nil
		}
	}
	return 0, &fault.Error{
		Reason: fault.Invalid,
		Cause: fmt.Errorf("plugin %q %s speaks version %s of the %s protocol, and this program speaks 1 to %d",
			info.Name, info.Version, versions(info.ProtocolVersions), info.Kind, sdk.ProtocolVersion),
		Hint: "install matching versions of both",
	}
}

func versions(list []uint32) string {
	if len(list) == 0 {
		return "none"
	}
	var text []string
	for _, v := range list {
		text = append(text, strconv.FormatUint(uint64(v), 10))
	}
	return strings.Join(text, ", ")
}

// Info returns what the plugin said of itself.
func (p *Process) Info() sdk.Info { return p.info }

// Protocol returns the version of the kind's protocol that both sides speak.
func (p *Process) Protocol() uint32 { return p.protocol }

// Conn is given to the NewClient function of the kind's package. See rpc.Wrap for what its errors tell.
func (p *Process) Conn() grpc.ClientConnInterface { return p.conn }

// PID of the process, which leads a process group of its own.
func (p *Process) PID() int { return p.child.pid }

// Done is closed when the process has ended and its last words are known.
func (p *Process) Done() <-chan struct{} { return p.child.gone.Done() }

// LastWords says how the process ended and what it wrote last; call it after Done.
func (p *Process) LastWords() string { return p.child.lastWords() }

// CutLifeline does to the plugin what the end of this process would, and nothing more. For tests; Close is what ends a plugin.
func (p *Process) CutLifeline() { p.child.lifeline.Close() }

// Close ends the plugin: its lifeline first, SIGTERM at half of StopGrace, SIGKILL to its whole process group at StopGrace or when ctx ends. It returns
// when the process has ended and its socket is gone. The error says that it had to be killed. Later calls wait and return the same.
func (p *Process) Close(ctx context.Context) error {
	p.closing.Do(func() { p.closed = p.close(ctx) })
	return p.closed
}

func (p *Process) close(ctx context.Context) error {
	p.child.lifeline.Close()
	var err error
	if !p.endsWithin(ctx, p.grace/2) {
		p.child.signal(syscall.SIGTERM)
		if !p.endsWithin(ctx, p.grace/2) {
			p.child.kill()
			err = &fault.Error{Reason: fault.Unavailable, Op: "stop plugin", Subject: p.info.Name, Cause: errors.New("it did not end when asked to and was killed")}
		}
	}
	<-p.Done()
	_ = p.client.Close() // the connection; the process that might fail to answer is gone
	p.child.remove()
	return err
}

func (p *Process) endsWithin(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.Done():
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = DefaultStartTimeout
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = DefaultCallTimeout
	}
	if o.StopGrace == 0 {
		o.StopGrace = DefaultStopGrace
	}
	return o
}

func reasonOfStart(err error) fault.Reason {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fault.NotFound
	case errors.Is(err, os.ErrPermission):
		return fault.PermissionDenied
	case errors.Is(err, syscall.ENOEXEC):
		return fault.Invalid
	}
	return fault.Unavailable
}
