package fork

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// harmless are files that copies may share with their original.
var harmless = []string{"/dev/null", "/dev/urandom"}

// eventsOf returns the eventfds of a process. They have to be a copy's own: what is signalled by one would wake the other. Everything else that a copy would share with its original is refused, but what is
// exchanged, and signalfds, which give each process its own signals.
func eventsOf(pid int, exchanged []int) (events []event, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		what, err := os.Readlink(dir + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		descriptor, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
		}
		if slices.Contains(exchanged, descriptor) || what == "anon_inode:[signalfd]" || slices.Contains(harmless, what) {
			continue
		}
		if what != "anon_inode:[eventfd]" {
			return nil, fmt.Errorf("its descriptor %d is %s, which copies cannot share", descriptor, what)
		}
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, descriptor))
		if err != nil {
			return nil, err
		}
		count, err := eventCount(string(info))
		if err != nil {
			return nil, err
		}
		events = append(events, event{descriptor, count})
	}
	return events, nil
}

func eventCount(info string) (uint64, error) {
	for line := range strings.Lines(info) {
		if text, found := strings.CutPrefix(line, "eventfd-count:"); found {
			return strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		}
	}
	return 0, errors.New("an eventfd tells no count")
}

// span of a process's memory.
type span struct{ begin, end uint64 }

// nameOf finds the argument after "-name".
func nameOf(pid int) (span, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return span{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return span{}, err
	}
	const afterName, argumentsBegin = 2, 47 // the program's name, in brackets, is the second field; proc(5)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= argumentsBegin-afterName {
		return span{}, errors.New("read where its arguments are: too few fields")
	}
	begin, err := strconv.ParseUint(fields[argumentsBegin-afterName], 10, 64)
	if err != nil {
		return span{}, fmt.Errorf("read where its arguments are: %w", err)
	}
	const option = "\x00-name\x00"
	at := bytes.Index(text, []byte(option))
	if at < 0 {
		return span{}, nil
	}
	at += len(option)
	length := max(0, bytes.IndexByte(text[at:], 0))
	return span{begin + uint64(at), begin + uint64(at+length)}, nil
}
