package netd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

// Plugin is a running network plugin.
type Plugin interface {
	network.Network
	// Done is closed when the plugin's process has ended.
	Done() <-chan struct{}
	// Close ends it.
	Close(ctx context.Context) error
}

// Restarts are bounded: a plugin that ends this often within the window is broken, and restarting it only burns the machine.
const (
	restartsAllowed = 5
	restartWindow   = time.Minute
	replayTimeout   = 20 * time.Second
)

// keeper is one network that outlives its plugin's process: it remembers what was attached, and says it all again to a new process with the
// addresses, MACs and ports that the first one chose.
type keeper struct {
	start  func(ctx context.Context) (Plugin, error)
	config network.Config
	log    hclog.Logger

	mu        sync.Mutex // held during restart: calls wait for the new plugin
	plugin    Plugin
	info      network.Info
	endpoints map[string]attachment
	restarts  []time.Time
	closed    bool
}

type attachment struct {
	request  network.AttachRequest
	endpoint network.Endpoint
}

// newKeeper starts the plugin and makes the network.
func newKeeper(ctx context.Context, config network.Config, start func(context.Context) (Plugin, error), log hclog.Logger) (*keeper, error) {
	k := &keeper{start: start, config: config, log: log, endpoints: map[string]attachment{}}
	if err := k.replay(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// replay starts a plugin and tells it everything. k.mu is held, or k is new.
func (k *keeper) replay(ctx context.Context) error {
	plugin, err := k.start(ctx)
	if err != nil {
		return err
	}
	info, err := plugin.Create(ctx, "create "+k.config.Name, k.config)
	if err != nil {
		return errors.Join(err, plugin.Close(ctx))
	}
	for _, id := range slices.Sorted(maps.Keys(k.endpoints)) {
		a := k.endpoints[id]
		if a.endpoint, err = plugin.Attach(ctx, a.request); err != nil {
			return errors.Join(fmt.Errorf("attach %q again: %w", id, err), plugin.Close(ctx))
		}
		k.endpoints[id] = a
	}
	k.plugin, k.info = plugin, info
	k.config = chosen(k.config, info)
	return nil
}

// chosen is the configuration that makes the same network again, whatever has become of the host's routes meanwhile.
func chosen(config network.Config, info network.Info) network.Config {
	fix := func(wish *string, prefix netip.Prefix, gateway *string, address netip.Addr) {
		if prefix.IsValid() {
			*wish = prefix.String()
		}
		if address.IsValid() {
			*gateway = address.String()
		}
	}
	fix(&config.SubnetV4, info.SubnetV4, &config.GatewayV4, info.GatewayV4)
	fix(&config.SubnetV6, info.SubnetV6, &config.GatewayV6, info.GatewayV6)
	if info.MTU != 0 {
		config.MTU = info.MTU
	}
	return config
}

// restart replaces a dead plugin. Of several callers one does it and the others wait.
func (k *keeper) restart(dead Plugin) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.plugin != dead {
		return nil
	}
	if k.closed {
		return fault.Unavailable
	}
	now := time.Now()
	k.restarts = slices.DeleteFunc(k.restarts, func(t time.Time) bool { return now.Sub(t) > restartWindow })
	if len(k.restarts) >= restartsAllowed {
		return &fault.Error{Reason: fault.Unavailable, Op: "keep network", Subject: k.config.Name,
			Cause: fmt.Errorf("its plugin ended %d times within a minute", len(k.restarts))}
	}
	k.restarts = append(k.restarts, now)
	k.log.Warn("the network plugin ended; starting it again", "network", k.config.Name, "endpoints", len(k.endpoints))
	ctx, cancel := context.WithTimeout(context.Background(), replayTimeout)
	defer cancel()
	return k.replay(ctx)
}

// watch restarts the plugin whenever it ends, until close or a restart that fails, which it returns.
func (k *keeper) watch() error {
	for {
		plugin := k.running()
		<-plugin.Done()
		k.mu.Lock()
		closed := k.closed
		k.mu.Unlock()
		if closed {
			return nil
		}
		if err := k.restart(plugin); err != nil {
			return err
		}
	}
}

func (k *keeper) running() Plugin {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.plugin
}

// call makes a call to the plugin, and once more to a new one if the first died of it, or before it.
func call[T any](k *keeper, f func(Plugin) (T, error)) (T, error) {
	plugin := k.running()
	result, err := f(plugin)
	if err == nil {
		return result, nil
	}
	select {
	case <-plugin.Done():
	default:
		return result, err
	}
	if restartErr := k.restart(plugin); restartErr != nil {
		return result, errors.Join(err, restartErr)
	}
	return f(k.running())
}

func (k *keeper) close(ctx context.Context) error {
	k.mu.Lock()
	k.closed = true
	plugin := k.plugin
	k.mu.Unlock()
	return plugin.Close(ctx)
}

// Create answers for the one network there is.
func (k *keeper) Create(_ context.Context, _ string, config network.Config) (network.Info, error) {
	if config.Name != k.config.Name {
		return network.Info{}, notThis(config.Name)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.info, nil
}

// Delete is not for the holders of leases: a network ends with its last lease.
func (k *keeper) Delete(context.Context, string, string) error {
	return &fault.Error{Reason: fault.Unsupported, Op: "delete network", Subject: k.config.Name, Cause: errors.New("it is in use")}
}

// List returns the one network.
func (k *keeper) List(context.Context) ([]network.Info, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return []network.Info{k.info}, nil
}

// Attach attaches, and remembers with what.
func (k *keeper) Attach(ctx context.Context, request network.AttachRequest) (network.Endpoint, error) {
	if request.Network != k.config.Name {
		return network.Endpoint{}, notThis(request.Network)
	}
	for {
		var by Plugin
		endpoint, err := call(k, func(p Plugin) (network.Endpoint, error) { by = p; return p.Attach(ctx, request) })
		if err != nil {
			return network.Endpoint{}, err
		}
		if k.remember(by, request, endpoint) {
			return endpoint, nil
		}
		request = settled(request, endpoint)
	}
}

// remember keeps an endpoint, unless the plugin that made it has been replaced by one that was not told of it.
func (k *keeper) remember(by Plugin, request network.AttachRequest, endpoint network.Endpoint) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.plugin != by {
		return false
	}
	k.endpoints[request.EndpointID] = attachment{settled(request, endpoint), endpoint}
	return true
}

// Wanted returns the wishes that give an endpoint its address and MAC again.
func Wanted(endpoint network.Endpoint) network.AttachRequest {
	wanted := settled(network.AttachRequest{}, endpoint)
	wanted.LinkTypes = nil
	return wanted
}

// settled is the request that gives the same endpoint again.
func settled(request network.AttachRequest, endpoint network.Endpoint) network.AttachRequest {
	for _, prefix := range endpoint.Addresses {
		if prefix.Addr().Is4() {
			request.AddressV4 = prefix.Addr()
		} else {
			request.AddressV6 = prefix.Addr()
		}
	}
	request.MAC = endpoint.MAC
	request.LinkTypes = []string{endpoint.Link.Type()}
	if len(endpoint.Ports) > 0 {
		request.Ports = endpoint.Ports
	}
	return request
}

// Detach detaches and forgets.
func (k *keeper) Detach(ctx context.Context, requestID, name, endpoint string) error {
	if name != k.config.Name {
		return notThis(name)
	}
	k.mu.Lock()
	delete(k.endpoints, endpoint)
	k.mu.Unlock()
	_, err := call(k, func(p Plugin) (struct{}, error) { return struct{}{}, p.Detach(ctx, requestID, name, endpoint) })
	return err
}

// ListEndpoints returns what is attached.
func (k *keeper) ListEndpoints(_ context.Context, name string) ([]network.Endpoint, error) {
	if name != k.config.Name {
		return nil, notThis(name)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []network.Endpoint
	for _, id := range slices.Sorted(maps.Keys(k.endpoints)) {
		all = append(all, k.endpoints[id].endpoint)
	}
	return all, nil
}

// Watch passes the plugin's events on, across restarts.
func (k *keeper) Watch(ctx context.Context, name string, event func(network.Event)) error {
	if name != k.config.Name {
		return notThis(name)
	}
	for {
		plugin := k.running()
		err := plugin.Watch(ctx, name, event)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-plugin.Done():
		default:
			return err
		}
		if err := k.restart(plugin); err != nil {
			return err
		}
	}
}

func notThis(name string) error {
	return &fault.Error{Reason: fault.NotFound, Op: "find network", Subject: name, Cause: errors.New("this daemon keeps another")}
}
