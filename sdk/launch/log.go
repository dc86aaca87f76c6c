package launch

import (
	"bufio"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// readStderr hands on the plugin's log lines, each with its level, and keeps the last for the case that the plugin ends. What it says is not trusted.
func (c *child) readStderr() {
	defer close(c.stderr.done)
	log := c.log.Named(filepath.Base(c.cmd.Path))
	r := bufio.NewReaderSize(c.stderr.file, maxLogLine)
	crashed, part := false, false
	for {
		line, more, err := r.ReadLine()
		if err != nil { // its end, or we no longer wait for that
			return
		}
		_, _ = c.tail.Write(line) // never fails
		if !more {
			_, _ = c.tail.Write([]byte{'\n'})
		}
		if more || part {
			log.Debug(string(line))
		} else {
			crashed = crashed || isCrash(string(line))
			logLine(log, line, crashed)
		}
		part = more
	}
}

// logLine logs a line of a plugin. One that is not hclog's JSON is of interest to who looks for a fault only, and all of a crash to everybody.
func logLine(log hclog.Logger, line []byte, crashed bool) {
	entry, ok := parseEntry(line)
	switch {
	case ok && entry.level != hclog.NoLevel:
		if entry.level >= log.GetLevel() {
			log.Log(entry.level, entry.message, entry.values...)
		}
	case crashed:
		log.Error(string(line))
	default:
		log.Log(wordLevel(string(line)), string(line))
	}
}

// entry is a line of hclog's JSON.
type entry struct {
	level   hclog.Level
	message string
	values  []any // keys and values in turn
}

// parseEntry reports false for a line that is something else. When it was said the reader's own clock tells as well.
func parseEntry(line []byte) (entry, bool) {
	var raw map[string]any
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &raw) != nil {
		return entry{}, false
	}
	message, _ := raw["@message"].(string)
	level, _ := raw["@level"].(string)
	e := entry{level: hclog.LevelFromString(level), message: message}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if key != "@message" && key != "@level" && key != "@timestamp" {
			e.values = append(e.values, key, raw[key])
		}
	}
	return e, true
}

// wordLevel is the level that a line names in its first word, as in "[WARN] disk is slow".
func wordLevel(line string) hclog.Level {
	word, _, found := strings.Cut(strings.TrimPrefix(line, "["), "]")
	if level := hclog.LevelFromString(word); found && line[0] == '[' && level != hclog.NoLevel && level != hclog.Off {
		return level
	}
	return hclog.Debug
}

func isCrash(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}
