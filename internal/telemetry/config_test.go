package telemetry_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/telemetry"
)

func TestWhatTheVariablesMean(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318"
	for _, c := range []struct {
		name    string
		environ []string
		want    string
	}{
		{"nothing", nil, "off"},
		{"empty", []string{"OTEL_EXPORTER_OTLP_ENDPOINT="}, "off"},
		{"only what does not ask for traces", []string{"OTEL_SERVICE_NAME=x", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "off"},
		{"an endpoint", []string{endpoint}, "to http://collector:4318, http/protobuf, sampler parentbased_always_on"},
		{"one for traces", []string{endpoint, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://t:1/x?key=s3cret"},
			"to https://t:1, http/protobuf, sampler parentbased_always_on"},
		{"the exporter, and OpenTelemetry's default", []string{"OTEL_TRACES_EXPORTER=otlp"},
			"to http://localhost:4318, http/protobuf, sampler parentbased_always_on"},
		{"no exporter", []string{endpoint, "OTEL_TRACES_EXPORTER=none"}, "off"},
		{"disabled", []string{endpoint, "OTEL_SDK_DISABLED=True", "OTEL_TRACES_SAMPLER=faulty"}, "off"},
		{"a ratio", []string{endpoint, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.25"},
			"to http://collector:4318, http/protobuf, sampler parentbased_traceidratio 0.25"},
		{"everything else", []string{endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
			"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20s3cret, x-b = c ,", "OTEL_EXPORTER_OTLP_TIMEOUT=500",
			"OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_TRACES_SAMPLER=Always_Off", "OTEL_SERVICE_NAME=me",
			"OTEL_RESOURCE_ATTRIBUTES=a=b%2Cc,service.name=other", "OTEL_BSP_SCHEDULE_DELAY=1", "OTEL_BSP_EXPORT_TIMEOUT=1",
			"OTEL_BSP_MAX_QUEUE_SIZE=10"}, "to http://collector:4318, http/protobuf, sampler always_off"},
	} {
		got, err := telemetry.FromEnviron(c.environ)
		if err != nil || got.String() != c.want || got.On() != (c.want != "off") {
			t.Errorf("%s: %s, %v, want %s", c.name, got, err, c.want)
		}
	}
}

// Each fault names its variable and what would be right, and no secret.
func TestFaultsOfTheVariables(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ variable, want string }{
		{"OTEL_TRACES_EXPORTER=console", `"console" is not supported: give otlp or none`},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", "not a URL such as https://collector.example.org:4318"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=ftp://s3cret", "not a URL such as"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://", "not a URL such as"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://%zz:s3cret", "not a URL such as"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://a:s3cret@b", "has a user: give $OTEL_EXPORTER_OTLP_HEADERS instead"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", `"grpc" is not supported: give http/protobuf`},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json", `"http/json" is not supported: give http/protobuf`},
		{"OTEL_EXPORTER_OTLP_HEADERS=a=b,s3cret", "entry 2 is not of the form NAME=VALUE"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS=a=s3cret%0a", "has a header that HTTP does not allow"},
		{"OTEL_EXPORTER_OTLP_HEADERS=a=s3cret%0", "entry 1 is not of the form NAME=VALUE"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT=10s", `"10s" is not a number from 1 to 2147483647`},
		{"OTEL_EXPORTER_OTLP_COMPRESSION=zstd", `"zstd" is not supported: give gzip or none`},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + empty + "0", "no such file"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + empty, "has no certificate"},
		{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + empty, "with the key: "},
		{"OTEL_TRACES_SAMPLER=jaeger_remote", `"jaeger_remote" is not supported: give one of always_off, always_on`},
		{"OTEL_TRACES_SAMPLER_ARG=1.5", `"1.5" is not a number from 0 to 1`},
		{"OTEL_TRACES_SAMPLER_ARG=NaN", `"NaN" is not a number from 0 to 1`},
		{"OTEL_BSP_SCHEDULE_DELAY=0", `"0" is not a number from 1 to`},
		{"OTEL_BSP_MAX_QUEUE_SIZE=65537", `"65537" is not a number from 1 to 65536`},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE=2049", `"2049" is not a number from 1 to 2048`},
		{"OTEL_RESOURCE_ATTRIBUTES=a", "entry 1 is not of the form NAME=VALUE"},
	} {
		environ := []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c", c.variable}
		if strings.HasPrefix(c.variable, "OTEL_EXPORTER_OTLP_ENDPOINT") {
			environ = environ[1:]
		}
		if strings.HasPrefix(c.variable, "OTEL_TRACES_SAMPLER_ARG") {
			environ = append(environ, "OTEL_TRACES_SAMPLER=traceidratio")
		}
		got, err := telemetry.FromEnviron(environ)
		var faults telemetry.Faults
		if !errors.As(err, &faults) || len(faults) != 1 || got.On() {
			t.Errorf("%s: %s, %v", c.variable, got, err)
			continue
		}
		name, _, _ := strings.Cut(c.variable, "=")
		if f := faults[0]; f.Variable != name || !strings.Contains(f.Problem, c.want) ||
			strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.variable, err)
		}
	}
}
