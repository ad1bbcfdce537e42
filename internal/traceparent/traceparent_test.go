package traceparent_test

import (
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/traceparent"
)

const example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" // of the recommendation

func TestParse(t *testing.T) {
	c, ok := traceparent.Parse(example)
	if !ok || !c.Sampled() || c.Trace[0] != 0x4b || c.Trace[15] != 0x36 || c.Span[7] != 0xb7 || c.String() != example {
		t.Errorf("%+v, %t", c, ok)
	}
	if c, ok := traceparent.Parse(strings.TrimSuffix(example, "1") + "0"); !ok || c.Sampled() {
		t.Errorf("not sampled: %+v, %t", c, ok)
	}
	for what, value := range map[string]string{
		"nothing":         "",
		"another version": "01" + example[2:],
		"capitals":        strings.ToUpper(example),
		"no trace":        "00-" + strings.Repeat("0", 32) + example[35:],
		"no span":         example[:36] + strings.Repeat("0", 16) + "-01",
		"no dash":         strings.Replace(example, "-00f0", "x00f0", 1),
		"no last dash":    example[:52] + "x01",
		"no digit":        strings.Replace(example, "4bf9", "4bg9", 1),
		"flags":           example[:53] + "0x",
		"too long":        example + "-more",
		"cut":             example[:54],
	} {
		if c, ok := traceparent.Parse(value); ok {
			t.Errorf("%s: %q reads as %+v", what, value, c)
		}
	}
}
