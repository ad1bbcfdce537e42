package peers

import (
	"bytes"
	"os/exec"
	"testing"
)

// AWS runs Debian's AWS command line, `aws kinesis ARGS`, against an endpoint
// and returns what it printed: JSON. It needs [AWSCLI]. A command that fails
// fails the test.
func AWS(tb testing.TB, endpoint string, args ...string) []byte {
	tb.Helper()
	Require(tb, AWSCLI)
	args = append([]string{"--endpoint-url", endpoint, "--output", "json", "kinesis"}, args...)
	cmd := exec.CommandContext(tb.Context(), awsCommand, args...)
	cmd.Env = append(Environment(), "AWS_PAGER=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("aws %q: %v: %s", args, err, &stderr)
	}
	return out
}
