// Package signals reads signals as people write them. They are those of the guest, which is Linux whatever the host is.
package signals

import (
	"errors"
	"strconv"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
)

// numbers by name. amd64 and arm64 number them alike.
var numbers = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11,
	"USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21,
	"TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "POLL": 29, "PWR": 30, "SYS": 31,
}

const (
	rtMin = 34
	rtMax = 64
)

// Number reads a signal: "TERM", "sigterm", "15", "RTMIN+3". Errors are of reason fault.Invalid.
func Number(text string) (int, error) {
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if n, ok := numbers[name]; ok {
		return n, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= rtMax {
		return n, nil
	}
	for prefix, base := range map[string]int{"RTMIN": rtMin, "RTMAX": rtMax} {
		offset, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(offset)
		if offset == "" {
			n, err = 0, nil
		}
		if err == nil && base+n >= rtMin && base+n <= rtMax {
			return base + n, nil
		}
	}
	return 0, &fault.Error{Reason: fault.Invalid, Op: "use signal", Subject: text, Cause: errors.New("there is no such signal"),
		Hint: "write a name such as TERM, or a number up to 64"}
}
