package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size, written as a number with a unit: "512M", "2 GiB", "1g". Units are powers of 1024, as Docker's.
type Bytes uint64

// ParseBytes reads a size.
func ParseBytes(text string) (Bytes, error) {
	digits := strings.TrimSpace(text)
	number := strings.TrimRight(digits, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := strings.ToLower(digits[len(number):])
	shift, known := map[string]uint{"": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20,
		"g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40}[unit]
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
	if err != nil || !known || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is not a size; write it as 512M or 2G", text)
	}
	return Bytes(n << shift), nil
}

// UnmarshalTOML reads a number of bytes or a size with a unit.
func (b *Bytes) UnmarshalTOML(value any) error {
	switch v := value.(type) {
	case int64:
		if v < 0 {
			return fmt.Errorf("%d is not a size", v)
		}
		*b = Bytes(v)
		return nil
	case string:
		var err error
		*b, err = ParseBytes(v)
		return err
	}
	return fmt.Errorf("%v is not a size", value)
}

// String writes the size with the largest unit that leaves no fraction.
func (b Bytes) String() string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	n, i := uint64(b), 0
	for n > 0 && n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return fmt.Sprintf("%d %s", n, units[i])
}
