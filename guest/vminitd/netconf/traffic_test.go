package netconf

import "testing"

func TestTrafficIsThatOfAllInterfacesButTheOneToItself(t *testing.T) {
	const table = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0
  eth0:     100       2    0    0    0     0          0         0       40       3    0    0    0     0       0          0
  eth1:       1       1    0    0    0     0          0         0        2       1    0    0    0     0       0          0
`
	if got, want := parseTraffic(table), (Traffic{ReceivedBytes: 101, SentBytes: 42, ReceivedPackets: 3, SentPackets: 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
