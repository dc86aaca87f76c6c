//go:build linux

// Command probe tells what two clones of one machine must not have in common, and what its clocks do. It is the first process of a container, and ends with its
// standard input. clone_test.go compares what several of them say.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// report is what it prints, in one line.
type report struct {
	// Differ has, by name, what must differ.
	Differ map[string]string
	// Mapping is where the kernel puts what the program maps.
	Mapping string
	// Secrets have what is left of a number that the kernel makes of a secret and the time if the time is taken away: with one secret it is the same, about.
	Secrets map[string]uint32
	// Uptime is that of the machine when the probe began, in nanoseconds.
	Uptime int64
	// Ticks that a timer of tick made while Monotonic and Realtime passed by the clocks of these names.
	Ticks               uint64
	Monotonic, Realtime time.Duration
	// Stepped says that the clock was set meanwhile.
	Stepped bool
	// MemoryMax and MemoryTotal are those of the cgroup and of the machine, in bytes.
	MemoryMax, MemoryTotal uint64
	// Serials of the disks, and their sizes in sectors.
	Serials, Sizes map[string]string
}

const (
	tick  = 20 * time.Millisecond
	watch = 300 * time.Millisecond
)

func main() {
	r := report{Uptime: clock(unix.CLOCK_MONOTONIC), Differ: map[string]string{}, Secrets: map[string]uint32{}}
	for _, look := range []func(*report) error{timers, randomness, layout, connections, identity, sizes} {
		if err := look(&r); err != nil {
			fmt.Fprintln(os.Stderr, "probe:", err)
			os.Exit(1)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(1)
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func clock(id int32) int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(id, &now); err != nil {
		return 0
	}
	return now.Nano()
}

// timers goes first: a burst comes at once.
func timers(r *report) error {
	step, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, 0)
	if err != nil {
		return err
	}
	end := unix.ItimerSpec{Value: unix.NsecToTimespec(clock(unix.CLOCK_REALTIME) + int64(watch))}
	if err := unix.TimerfdSettime(step, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &end, nil); err != nil {
		return err
	}
	ticker, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK)
	if err != nil {
		return err
	}
	begun, real := clock(unix.CLOCK_MONOTONIC), clock(unix.CLOCK_REALTIME)
	every := unix.NsecToTimespec(int64(tick))
	if err := unix.TimerfdSettime(ticker, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return err
	}
	var count uint64
	whole := unsafe.Slice((*byte)(unsafe.Pointer(&count)), 8)
	if _, err := unix.Read(step, whole); errors.Is(err, unix.ECANCELED) {
		r.Stepped = true
	} else if err != nil {
		return err
	}
	count = 0
	if _, err := unix.Read(ticker, whole); err != nil && !errors.Is(err, unix.EAGAIN) {
		return err
	}
	r.Ticks, r.Realtime, r.Monotonic = count, time.Duration(clock(unix.CLOCK_REALTIME)-real), time.Duration(clock(unix.CLOCK_MONOTONIC)-begun)
	return nil
}

func randomness(r *report) error {
	bytes := make([]byte, 32)
	for name, flags := range map[string]int{"getrandom": 0, "getrandom of the insecure kind": unix.GRND_INSECURE} {
		if _, err := unix.Getrandom(bytes, flags); err != nil {
			return err
		}
		r.Differ[name] = hex.EncodeToString(bytes)
	}
	r.Differ["text of the random package"] = rand.Text()
	for _, path := range []string{"/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/random/uuid"} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		r.Differ[path] = string(text)
	}
	vector, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return err
	}
	const atRandom = 25
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&vector[0])), len(vector)/8)
	for i := 0; i+1 < len(words); i += 2 {
		if words[i] != atRandom {
			continue
		}
		memory, err := os.Open("/proc/self/mem")
		if err != nil {
			return err
		}
		defer func() { _ = memory.Close() }()
		if _, err := memory.ReadAt(bytes[:16], int64(words[i+1])); err != nil {
			return err
		}
		r.Differ["AT_RANDOM"] = hex.EncodeToString(bytes[:16])
	}
	if r.Differ["AT_RANDOM"] == "" {
		return errors.New("the kernel gave no random bytes at the start")
	}
	return nil
}

// layout is where the kernel has put what the program did not choose a place for.
func layout(r *report) error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "[stack]") {
			r.Differ["address of the stack"] = strings.Fields(line)[0]
		}
	}
	mapped, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	r.Mapping = fmt.Sprintf("%p", &mapped[0])
	return nil
}

// connections are made on loopback, with the same ports in each clone, and seen by a raw socket.
func connections(r *report) error {
	raw, err := net.ListenPacket("ip4:tcp", "127.0.0.1")
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	var ports []string
	for _, port := range []int{40001, 40002} {
		listener, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return err
		}
		defer func() { _ = listener.Close() }()
		conn, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			return err
		}
		ports = append(ports, conn.LocalAddr().String())
		_ = conn.Close()
	}
	r.Differ["ephemeral ports"] = strings.Join(ports, " ")
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}}
	conn, err := from.Dial("tcp4", "127.0.0.1:40001")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return handshake(r, raw)
}

// handshake reads the two first segments of the connection between ports 40000 and 40001. A sequence number is the hash of ports, addresses and a secret, and a
// clock of 64 ns; a time stamp a hash and a clock of 1 ms.
func handshake(r *report, raw net.PacketConn) error {
	_ = raw.SetReadDeadline(time.Now().Add(time.Minute))
	segment := make([]byte, 1500)
	for len(r.Secrets) < 4 {
		n, _, err := raw.ReadFrom(segment)
		if err != nil {
			return err
		}
		if n < 40 {
			continue
		}
		number := func(at int) uint32 {
			return uint32(segment[at])<<24 | uint32(segment[at+1])<<16 | uint32(segment[at+2])<<8 | uint32(segment[at+3])
		}
		const syn = 2
		side := map[uint32]string{40000<<16 | 40001: "client", 40001<<16 | 40000: "server"}[number(0)]
		if side == "" || segment[13]&syn == 0 {
			continue
		}
		r.Secrets["sequence numbers of the "+side] = number(4) - uint32(clock(unix.CLOCK_REALTIME)>>6)
		for at := 20; at+6 <= n; {
			const nop, timestamp = 1, 8
			switch {
			case segment[at] == timestamp:
				r.Secrets["time stamps of the "+side] = number(at+2) - uint32(clock(unix.CLOCK_MONOTONIC)/1e6)
				at = n
			case segment[at] == nop:
				at++
			default:
				at += max(int(segment[at+1]), 2)
			}
		}
	}
	return nil
}

func identity(r *report) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	card, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	addresses, err := card.Addrs()
	if err != nil || len(addresses) == 0 {
		return fmt.Errorf("eth0 has addresses %v, %w", addresses, err)
	}
	r.Differ["host name"], r.Differ["MAC address"], r.Differ["address"] = name, card.HardwareAddr.String(), addresses[0].String()
	return nil
}

func sizes(r *report) error {
	limit, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return err
	}
	r.MemoryMax, _ = strconv.ParseUint(strings.TrimSpace(string(limit)), 10, 64) // "max" is 0
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	r.MemoryTotal = info.Totalram * uint64(info.Unit)
	r.Serials, r.Sizes = map[string]string{}, map[string]string{}
	for _, disk := range []string{"vda", "vdb"} {
		for name, to := range map[string]map[string]string{"serial": r.Serials, "size": r.Sizes} {
			text, err := os.ReadFile("/sys/block/" + disk + "/" + name)
			if err != nil {
				return err
			}
			to[disk] = strings.TrimSpace(string(text))
		}
	}
	return nil
}
