package command

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/vzctl/vzctl/core/engine"
)

// psColumn is a column as ps(1) has it.
type psColumn struct {
	names []string
	head  string
	cell  func(p engine.Process, now time.Time) string
}

// psTable has the columns that can be told of what the guest says; there is no ps in the way.
var psTable = []psColumn{
	{[]string{"pid"}, "PID", func(p engine.Process, _ time.Time) string { return strconv.Itoa(p.PID) }},
	{[]string{"ppid"}, "PPID", func(p engine.Process, _ time.Time) string { return strconv.Itoa(p.Parent) }},
	{[]string{"user", "euser", "uname"}, "USER", func(p engine.Process, _ time.Time) string { return userOf(p) }},
	{[]string{"uid", "euid"}, "UID", func(p engine.Process, _ time.Time) string { return strconv.FormatUint(uint64(p.UserID), 10) }},
	{[]string{"s", "state", "stat"}, "S", func(p engine.Process, _ time.Time) string { return p.State }},
	{[]string{"tty", "tt", "tname"}, "TTY", func(p engine.Process, _ time.Time) string { return terminalOf(p) }},
	{[]string{"%cpu", "pcpu"}, "%CPU", func(p engine.Process, _ time.Time) string { return strconv.FormatFloat(cpuShare(p), 'f', 1, 64) }},
	{[]string{"c"}, "C", func(p engine.Process, _ time.Time) string { return strconv.Itoa(int(cpuShare(p))) }},
	{[]string{"rss", "rssize", "rsz"}, "RSS", func(p engine.Process, _ time.Time) string { return strconv.FormatUint(p.MemoryBytes>>10, 10) }},
	{[]string{"stime", "start", "bsdstart"}, "START", startOf},
	{[]string{"etime"}, "ELAPSED", func(p engine.Process, _ time.Time) string { return elapsed(p.Age, false) }},
	{[]string{"etimes"}, "ELAPSED", func(p engine.Process, _ time.Time) string { return strconv.FormatInt(int64(p.Age/time.Second), 10) }},
	{[]string{"time", "cputime"}, "TIME", func(p engine.Process, _ time.Time) string { return elapsed(p.CPU, true) }},
	{[]string{"comm", "ucmd", "ucomm"}, "COMMAND", func(p engine.Process, _ time.Time) string {
		name, _, _ := strings.Cut(p.Command, " ")
		return path.Base(name)
	}},
	{[]string{"args", "cmd", "command"}, "COMMAND", func(p engine.Process, _ time.Time) string { return p.Command }},
}

// The formats with names of their own.
const (
	psFull = "user=UID,pid,ppid,c,stime,tty,time,args=CMD"
	psUser = "user,pid,%cpu,rss,tty,stat,start,time,args"
)

// psColumns reads options of ps(1), of which there is at least one.
func psColumns(options []string, now time.Time) (columns[engine.Process], error) {
	var formats []string
	for i := 0; i < len(options); i++ {
		letters, dashed := strings.CutPrefix(options[i], "-")
		for at, letter := range letters {
			switch {
			case strings.ContainsRune("eAaxwd", letter): // which processes, and how wide: all
			case letter == 'f' && dashed:
				formats = append(formats, psFull)
			case letter == 'u' && strings.Trim(letters, "auxw") == "":
				formats = append(formats, psUser)
			case letter == 'o':
				list := letters[at+1:]
				if list == "" {
					if i++; i == len(options) {
						return columns[engine.Process]{}, usage("top: %s: a list of columns is missing", options[i-1])
					}
					list = options[i]
				}
				formats = append(formats, list)
			default:
				return columns[engine.Process]{}, usage("top: option %q of ps is not known; use aux, -ef or -o COLUMN,...", options[i])
			}
			if letter == 'o' {
				break
			}
		}
	}
	if len(formats) == 0 {
		formats = []string{"pid,tty,time,comm=CMD"}
	}
	return psFormat(strings.Join(formats, ","), now)
}

func psFormat(list string, now time.Time) (table columns[engine.Process], err error) {
	var cells []func(engine.Process, time.Time) string
	for word := range strings.SplitSeq(list, ",") {
		name, head, renamed := strings.Cut(word, "=")
		column, known := psNamed(strings.ToLower(name))
		if !known {
			return table, usage("top: there is no column %q; use %s", name, psNames())
		}
		if !renamed {
			head = column.head
		}
		table.heads, cells = append(table.heads, head), append(cells, column.cell)
	}
	table.row = func(p engine.Process) (row []string) {
		for _, cell := range cells {
			row = append(row, cell(p, now))
		}
		return row
	}
	return table, nil
}

func psNamed(name string) (psColumn, bool) {
	for _, column := range psTable {
		for _, other := range column.names {
			if name == other {
				return column, true
			}
		}
	}
	return psColumn{}, false
}

func psNames() string {
	var names []string
	for _, column := range psTable {
		names = append(names, column.names[0])
	}
	return strings.Join(names, ", ")
}

// cpuShare is how much of one CPU's time a process has used since it was started, in percent.
func cpuShare(p engine.Process) float64 {
	if p.Age <= 0 {
		return 0
	}
	return 100 * float64(p.CPU) / float64(p.Age)
}

// startOf is the time of the day, or the day if that was another.
func startOf(p engine.Process, now time.Time) string {
	began := now.Add(-p.Age)
	if began.YearDay() == now.YearDay() && began.Year() == now.Year() {
		return began.Format("15:04")
	}
	return began.Format("Jan02")
}

// elapsed is a time as [[DD-]HH:]MM:SS, hours even if there are none.
func elapsed(d time.Duration, hours bool) string {
	s := int64(d / time.Second)
	text := fmt.Sprintf("%02d:%02d", s/60%60, s%60)
	if s >= 3600 || hours {
		text = fmt.Sprintf("%02d:%s", s/3600%24, text)
	}
	if s >= 86400 {
		text = strconv.FormatInt(s/86400, 10) + "-" + text
	}
	return text
}
