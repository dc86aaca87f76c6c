package fault

import (
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Marshal makes a google.rpc.Status of an error, for messages that travel outside of gRPC. It is what ToGRPC sends.
func Marshal(err error) ([]byte, error) { return proto.Marshal(status.Convert(ToGRPC(err)).Proto()) }

// Unmarshal is the opposite, as FromGRPC. It reports false of what is no Status of a failure.
func Unmarshal(text []byte) (failure error, ok bool) {
	var s spb.Status
	if err := proto.Unmarshal(text, &s); err != nil || s.Code == 0 {
		return nil, false
	}
	return FromGRPC(status.FromProto(&s).Err()), true
}
