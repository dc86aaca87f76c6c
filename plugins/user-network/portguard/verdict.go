package portguard

// Verdict on a frame.
type Verdict int

// The verdicts.
const (
	Pass Verdict = iota
	// PassRefused passes, for the gateway to refuse it.
	PassRefused
	// Ignored is dropped without blame: every guest sends such frames.
	Ignored
	Short
	Long
	Malformed
	SourceMAC
	EtherType
	ARPSender
	IPv4Source
	Destination
	// Rate is given by Bucket.
	Rate

	Verdicts // how many there are
)

var verdictNames = [Verdicts]string{
	Pass:        "frames",
	PassRefused: "refused connections",
	Ignored:     "frames of a kind that is not carried",
	Short:       "frames shorter than an Ethernet header",
	Long:        "frames longer than the MTU",
	Malformed:   "malformed frames",
	SourceMAC:   "frames with another source MAC",
	EtherType:   "frames neither ARP nor IPv4",
	ARPSender:   "ARP for another's address",
	IPv4Source:  "packets with another source address",
	Destination: "packets to a destination that is not allowed",
	Rate:        "frames above the rate",
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
func (v Verdict) Violation() bool { return v != Pass && v != Ignored }
