package rootfs

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/filltest"
)

func TestConversionsKeepEveryField(t *testing.T) {
	values := filltest.Values{
		reflect.TypeFor[digest.Digest](): func(n int) any { return digest.FromString(fmt.Sprint(n)) },
	}
	filltest.RoundTrip(t, "build request", values, nil, func(r BuildRequest) BuildRequest { return buildFromProto(convert.Request(), buildToProto(r)) })
	filltest.RoundTrip(t, "built", values, nil, func(b Built) Built { return builtFromProto(convert.Answer(), builtToProto(b)) })
	filltest.RoundTrip(t, "writable", values, nil, func(r WritableRequest) WritableRequest {
		return writableFromProto(convert.Request(), writableToProto(r))
	})
	filltest.RoundTrip(t, "export", values, nil, func(r ExportRequest) ExportRequest { return exportFromProto(convert.Request(), exportToProto(r)) })
	filltest.RoundTrip(t, "entry", values, nil, func(e Entry) Entry { return entryFromProto(convert.Answer(), entryToProto(e)) })
}
