package ext4

import "math/bits"

// htreeEOF is the hash value that marks the end of a directory to readers of
// the index, so that no name may have it.
const htreeEOF = 0x7fffffff

// dirHash is ext4's half-MD4 directory hash of a name, bytes taken as
// unsigned. The low bit of the result is always clear: in an index it marks a
// block that continues the hash of the one before.
func dirHash(name string, seed [4]uint32) uint32 {
	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if seed != ([4]uint32{}) {
		state = seed
	}
	for rest := name; len(rest) > 0; {
		halfMD4(&state, hashWords(rest))
		rest = rest[min(32, len(rest)):]
	}
	hash := state[1] &^ 1
	if hash == htreeEOF<<1 {
		hash = (htreeEOF - 1) << 1
	}
	return hash
}

// hashWords packs up to 32 bytes of s into eight words, padded with its length.
func hashWords(s string) (words [8]uint32) {
	n := uint32(len(s))
	pad := n | n<<8
	pad |= pad << 16
	s = s[:min(32, len(s))]
	for w := range words {
		val := pad
		for i := 4 * w; i < min(4*w+4, len(s)); i++ {
			val = uint32(s[i]) + val<<8
		}
		words[w] = val
	}
	return words
}

func halfMD4(state *[4]uint32, in [8]uint32) {
	f := func(x, y, z uint32) uint32 { return z ^ (x & (y ^ z)) }
	g := func(x, y, z uint32) uint32 { return (x & y) + ((x ^ y) & z) }
	h := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	rounds := [3]struct {
		mix   func(x, y, z uint32) uint32
		add   uint32
		order [8]int
		shift [4]int
	}{
		{f, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{g, 0x5A827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{h, 0x6ED9EBA1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	}
	a, b, c, d := state[0], state[1], state[2], state[3]
	for _, r := range rounds {
		for i := range 8 {
			sum := a + r.mix(b, c, d) + in[r.order[i]] + r.add
			a, b, c, d = d, bits.RotateLeft32(sum, r.shift[i%4]), b, c
		}
	}
	state[0] += a
	state[1] += b
	state[2] += c
	state[3] += d
}
