package ext4

import (
	"cmp"
	"slices"
)

// blockRange is the blocks first to end-1.
type blockRange struct{ first, end uint64 }

// blockSet is a set of blocks. Until normalised its ranges may touch and overlap.
type blockSet []blockRange

func (s *blockSet) add(first, count uint64) {
	if count == 0 {
		return
	}
	if n := len(*s); n > 0 && (*s)[n-1].end == first {
		(*s)[n-1].end += count
		return
	}
	*s = append(*s, blockRange{first, first + count})
}

func (s *blockSet) addExtents(exts []extent) {
	for _, e := range exts {
		s.add(e.physical, uint64(e.count))
	}
}

// normalise sorts the ranges and joins those that touch.
func (s *blockSet) normalise() {
	slices.SortFunc(*s, func(a, b blockRange) int { return cmp.Compare(a.first, b.first) })
	joined := (*s)[:0]
	for _, r := range *s {
		if n := len(joined); n > 0 && r.first <= joined[n-1].end {
			joined[n-1].end = max(joined[n-1].end, r.end)
			continue
		}
		joined = append(joined, r)
	}
	*s = joined
}

// gaps returns the blocks from first to end-1 that are not in the normalised set.
func (s blockSet) gaps(first, end uint64) (gaps []blockRange) {
	for _, r := range s {
		if r.end <= first {
			continue
		}
		if r.first >= end {
			break
		}
		if r.first > first {
			gaps = append(gaps, blockRange{first, r.first})
		}
		first = r.end
	}
	if first < end {
		gaps = append(gaps, blockRange{first, end})
	}
	return gaps
}

// bitmap renders the part of the normalised set inside the group that starts
// at block first, and counts it.
func (s blockSet) bitmap(first uint64) (bits []byte, used uint32) {
	i, _ := slices.BinarySearchFunc(s, first, func(r blockRange, at uint64) int {
		if r.end <= at {
			return -1
		}
		return 1
	})
	bits = make([]byte, blockSize)
	for end := first + blocksPerGrp; i < len(s) && s[i].first < end; i++ {
		from, to := max(s[i].first, first)-first, min(s[i].end, end)-first
		setBits(bits, int(from), int(to))
		used += uint32(to - from)
	}
	return bits, used
}

// setBits sets the bits from to to-1, least significant bit of a byte first.
func setBits(b []byte, from, to int) {
	for ; from < to && from%8 != 0; from++ {
		b[from/8] |= 1 << (from % 8)
	}
	for ; from+8 <= to; from += 8 {
		b[from/8] = 0xFF
	}
	for ; from < to; from++ {
		b[from/8] |= 1 << (from % 8)
	}
}
