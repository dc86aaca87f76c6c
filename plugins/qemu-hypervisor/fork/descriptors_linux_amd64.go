package fork

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// eventsOf returns the eventfds of a process. They have to be a copy's own: what is signalled by one would wake the other. Other kinds that a copy would share with its original are refused, but
// files, sockets and pipes, which the plan exchanges, and signalfds, which give each process its own signals.
func eventsOf(pid int) (events []event, err error) {
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
		kind, anonymous := strings.CutPrefix(what, "anon_inode:")
		if !anonymous || kind == "[signalfd]" {
			continue
		}
		if kind != "[eventfd]" {
			return nil, fmt.Errorf("its descriptor %s is a %s, which cannot be copied", e.Name(), kind)
		}
		descriptor, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
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
