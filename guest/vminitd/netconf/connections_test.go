package netconf

import (
	"os"
	"path/filepath"
	"testing"
)

func TestConnectionsToOthersAreCounted(t *testing.T) {
	const head4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for name, test := range map[string]struct {
		tcp, tcp6 string
		want      int
	}{
		"none":                         {tcp: head4},
		"one that listens":             {tcp: head4 + "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n"},
		"established to 10.0.0.1":      {tcp: head4 + "   0: 0200000A:9C40 0100000A:0050 01 0:0 0:0 0 0 0 1\n", want: 1},
		"closed by the other end":      {tcp: head4 + "   0: 0200000A:9C40 0100000A:0050 08 0:0 0:0 0 0 0 1\n", want: 1},
		"ending":                       {tcp: head4 + "   0: 0200000A:9C40 0100000A:0050 06 0:0 0:0 0 0 0 1\n"},
		"over loopback":                {tcp: head4 + "   0: 0100007F:9C40 0100007F:0050 01 0:0 0:0 0 0 0 1\n"},
		"to its own address":           {tcp: head4 + "   0: 0200000A:9C40 0200000A:0050 01 0:0 0:0 0 0 0 1\n"},
		"IPv6, mapped IPv4 loopback":   {tcp6: "   0: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000100007F:9C40 01 0:0\n"},
		"IPv6, mapped IPv4 of another": {tcp6: "   0: 0000000000000000FFFF00000200000A:0050 0000000000000000FFFF00000100000A:9C40 01 0:0\n", want: 1},
		"IPv6 to ::1":                  {tcp6: "   0: 00000000000000000000000001000000:0050 00000000000000000000000001000000:9C40 01 0:0\n"},
		"nonsense":                     {tcp: "a b c 01\n0: zz:1 0100:2 01\n", tcp6: "\x00\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"tcp": test.tcp, "tcp6": test.tcp6} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := Connections(dir); got != test.want || err != nil {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
}
