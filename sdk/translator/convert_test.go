package translator

import (
	"reflect"
	"testing"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/filltest"
)

func TestConversionsKeepEveryField(t *testing.T) {
	filltest.RoundTrip(t, "plan", nil, []reflect.Type{reflect.TypeFor[Plan]()}, func(p Plan) Plan { return planFromProto(convert.Answer(), planToProto(p)) })
}
