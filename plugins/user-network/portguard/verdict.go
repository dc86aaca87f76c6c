package portguard

// Verdict on a frame.
type Verdict int

// The verdicts.
const (
	Pass Verdict = iota
	// PassRefused passes, for the gateway to refuse it.
	PassRefused
	// Solicitation asks for the MAC of a neighbour in IPv6. It goes no farther: the network itself answers.
	Solicitation
	// Ignored is dropped without blame: every guest sends such frames.
	Ignored
	Short
	Long
	Malformed
	SourceMAC
	EtherType
	ARPSender
	IPSource
	Destination
	// Extension headers of IPv6 could hide what a packet is.
	Extension
	// Control is ICMPv6 that only a router, or the network itself, may send.
	Control
	// Rate is given by Bucket.
	Rate

	Verdicts // how many there are
)

var verdictNames = [Verdicts]string{
	Pass:         "frames",
	PassRefused:  "refused connections",
	Solicitation: "questions for neighbours",
	Ignored:      "frames of a kind that is not carried",
	Short:        "frames shorter than an Ethernet header",
	Long:         "frames longer than the MTU",
	Malformed:    "malformed frames",
	SourceMAC:    "frames with another source MAC",
	EtherType:    "frames neither ARP nor IP",
	ARPSender:    "ARP for another's address",
	IPSource:     "packets with another source address",
	Destination:  "packets to a destination that is not allowed",
	Extension:    "IPv6 packets with extension headers that are not carried",
	Control:      "ICMPv6 in the name of a router or another",
	Rate:         "frames above the rate",
}

// String names what has this verdict, for counts: "frames longer than the MTU: 3".
func (v Verdict) String() string {
	if v < 0 || v >= Verdicts {
		return "unknown"
	}
	return verdictNames[v]
}

// Passes reports whether the frame goes on.
func (v Verdict) Passes() bool { return v == Pass || v == PassRefused }

// Violation reports whether the frame says something of the guest that its owner would like to know.
func (v Verdict) Violation() bool { return v != Pass && v != Ignored && v != Solicitation }
