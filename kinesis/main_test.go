package kinesis

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain removes everything of AWS from the environment, so that no test
// depends on the machine it runs on. For benchmarks it serves a stream instead
// of testing.
func TestMain(m *testing.M) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE":             "/nonexistent/config",
		"AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
		"AWS_EC2_METADATA_DISABLED":   "true",
	} {
		_ = os.Setenv(name, value)
	}
	if shards, err := strconv.Atoi(os.Getenv(servedShards)); err == nil {
		serveStream(shards)
		return
	}
	goleak.VerifyTestMain(m)
}
