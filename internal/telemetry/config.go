package telemetry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Config says which spans are sent, and where to. The zero value: none.
type Config struct {
	endpoint    *url.URL // nil: off
	headers     http.Header
	tls         *tls.Config
	gzip        bool
	timeout     time.Duration // of a request with its repetitions
	sampler     sdktrace.Sampler
	samplerName string
	batch       batch
	attributes  []attribute.KeyValue // of the process
}

// batch is how spans are gathered.
type batch struct {
	delay, timeout time.Duration
	queue, size    int // spans
}

// On reports whether spans are made.
func (c *Config) On() bool { return c.endpoint != nil }

// Host returns where spans go, without what may be secret: "collector:4318".
func (c *Config) Host() string { return c.endpoint.Host }

// String describes the configuration for people, without secrets.
func (c *Config) String() string {
	if !c.On() {
		return "off"
	}
	return fmt.Sprintf("to %s://%s, %s, sampler %s", c.endpoint.Scheme, c.endpoint.Host, protocol, c.samplerName)
}

// Fault is a variable that cannot be used.
type Fault struct {
	Variable string
	Problem  string // without the value, where that may be secret
}

// Faults are all variables that cannot be used.
type Faults []Fault

// Error returns a line for each fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = "$" + f.Variable + ": " + f.Problem
	}
	return strings.Join(lines, "\n")
}

// The parts of names of variables.
const (
	forAll    = "OTEL_EXPORTER_OTLP_"
	forTraces = "OTEL_EXPORTER_OTLP_TRACES_"
)

const (
	protocol        = "http/protobuf"
	defaultEndpoint = "http://localhost:4318" // OpenTelemetry's
	maxQueue        = 1 << 16                 // spans, each of which takes 2 KB or so
)

// FromEnviron reads OpenTelemetry's variables. Traces are on if an endpoint for
// them is named, or the exporter otlp is, and off otherwise; then the other
// variables are not looked at. Its error is of type Faults.
func FromEnviron(environ []string) (*Config, error) {
	r := &reader{env: map[string]string{}}
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok {
			r.env[name] = strings.TrimSpace(value)
		}
	}
	c := &Config{}
	if strings.EqualFold(r.env["OTEL_SDK_DISABLED"], "true") || !r.wanted() {
		return c, r.err()
	}
	if name, value := r.exporter("PROTOCOL"); value != "" && value != protocol {
		r.fault(name, "%q is not supported: give %s, and the port that the collector has for it, usually 4318", value,
			protocol)
	}
	c.endpoint = r.endpoint()
	c.headers = r.headers()
	c.tls = r.tls()
	c.gzip = r.gzip()
	name, _ := r.exporter("TIMEOUT")
	c.timeout = r.milliseconds(name, 10*time.Second)
	c.samplerName, c.sampler = r.sampler()
	c.batch = batch{
		delay:   r.milliseconds("OTEL_BSP_SCHEDULE_DELAY", sdktrace.DefaultScheduleDelay*time.Millisecond),
		timeout: r.milliseconds("OTEL_BSP_EXPORT_TIMEOUT", sdktrace.DefaultExportTimeout*time.Millisecond),
		queue:   r.count("OTEL_BSP_MAX_QUEUE_SIZE", sdktrace.DefaultMaxQueueSize, maxQueue),
	}
	c.batch.size = r.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(sdktrace.DefaultMaxExportBatchSize, c.batch.queue),
		c.batch.queue)
	c.attributes = r.attributes()
	if err := r.err(); err != nil {
		return &Config{}, err
	}
	return c, nil
}

// reader reads variables and notes what is wrong with them.
type reader struct {
	env    map[string]string
	faults Faults
}

func (r *reader) err() error {
	if len(r.faults) == 0 {
		return nil
	}
	return r.faults
}

func (r *reader) fault(variable, format string, args ...any) {
	r.faults = append(r.faults, Fault{variable, fmt.Sprintf(format, args...)})
}

// wanted reports whether somebody has asked for traces.
func (r *reader) wanted() bool {
	const variable = "OTEL_TRACES_EXPORTER"
	switch value := r.env[variable]; value {
	case "none":
		return false
	case "otlp":
		return true
	case "":
		_, endpoint := r.exporter("ENDPOINT")
		return endpoint != ""
	default:
		r.fault(variable, "%q is not supported: give otlp or none", value)
		return false
	}
}

// exporter returns a variable of the exporter, the one for traces alone before
// the one for everything. The value is empty if there is neither.
func (r *reader) exporter(name string) (variable, value string) {
	if value := r.env[forTraces+name]; value != "" {
		return forTraces + name, value
	}
	return forAll + name, r.env[forAll+name]
}

func (r *reader) endpoint() *url.URL {
	variable, value := r.exporter("ENDPOINT")
	if value == "" {
		value = defaultEndpoint
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		r.fault(variable, "not a URL such as https://collector.example.org:4318")
		return nil
	case u.User != nil:
		r.fault(variable, "has a user: give $%sHEADERS instead", forAll)
		return nil
	case variable == forAll+"ENDPOINT":
		return u.JoinPath("v1", "traces")
	case u.Path == "":
		u.Path = "/"
	}
	return u
}

// headers are of the form NAME=VALUE,NAME=VALUE, percent-encoded. They are
// secret.
func (r *reader) headers() http.Header {
	h := http.Header{}
	variable, value := r.exporter("HEADERS")
	for name, value := range r.pairs(variable, value) {
		if strings.Trim(name, nameBytes) != "" || strings.ContainsFunc(value, isControl) {
			r.fault(variable, "has a header that HTTP does not allow")
			continue
		}
		h.Set(name, value)
	}
	return h
}

// nameBytes are what HTTP allows in the name of a header.
const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

// isControl reports whether HTTP forbids a character in a header's value.
func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// pairs reads a list of the form NAME=VALUE,NAME=VALUE, percent-encoded. A
// fault names an entry by its place.
func (r *reader) pairs(variable, list string) map[string]string {
	pairs := map[string]string{}
	for i, entry := range strings.Split(list, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, value, ok := strings.Cut(entry, "=")
		name, nameErr := url.PathUnescape(strings.TrimSpace(name))
		value, valueErr := url.PathUnescape(strings.TrimSpace(value))
		if !ok || name == "" || nameErr != nil || valueErr != nil {
			r.fault(variable, "entry %d is not of the form NAME=VALUE, percent-encoded", i+1)
			continue
		}
		pairs[name] = value
	}
	return pairs
}

func (r *reader) gzip() bool {
	variable, value := r.exporter("COMPRESSION")
	switch value {
	case "", "none":
		return false
	case "gzip":
		return true
	}
	r.fault(variable, "%q is not supported: give gzip or none", value)
	return false
}

// tls reads the files with the collector's authorities, and with the
// certificate and key of this process.
func (r *reader) tls() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if variable, name := r.exporter("CERTIFICATE"); name != "" {
		pem, err := os.ReadFile(name)
		switch c.RootCAs = x509.NewCertPool(); {
		case err != nil:
			r.fault(variable, "%v", err)
		case !c.RootCAs.AppendCertsFromPEM(pem):
			r.fault(variable, "%s has no certificate", name)
		}
	}
	variable, certificate := r.exporter("CLIENT_CERTIFICATE")
	_, key := r.exporter("CLIENT_KEY")
	if certificate == "" && key == "" {
		return c
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		r.fault(variable, "with the key: %v", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c
}

func (r *reader) milliseconds(variable string, otherwise time.Duration) time.Duration {
	n := r.count(variable, int(otherwise.Milliseconds()), math.MaxInt32)
	return time.Duration(n) * time.Millisecond
}

func (r *reader) count(variable string, otherwise, most int) int {
	value := r.env[variable]
	if value == "" {
		return otherwise
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		r.fault(variable, "%q is not a number from 1 to %d", value, most)
		return otherwise
	}
	return n
}

// samplers make the samplers of OpenTelemetry's specification, by name. A
// commit's span has no parent, so those that ask the parent first are the same
// as those that do not.
var samplers = map[string]func(ratio float64) sdktrace.Sampler{
	"always_on":                func(float64) sdktrace.Sampler { return sdktrace.AlwaysSample() },
	"always_off":               func(float64) sdktrace.Sampler { return sdktrace.NeverSample() },
	"traceidratio":             sdktrace.TraceIDRatioBased,
	"parentbased_always_on":    func(float64) sdktrace.Sampler { return sdktrace.AlwaysSample() },
	"parentbased_always_off":   func(float64) sdktrace.Sampler { return sdktrace.NeverSample() },
	"parentbased_traceidratio": sdktrace.TraceIDRatioBased,
}

const defaultSampler = "parentbased_always_on" // OpenTelemetry's

func (r *reader) sampler() (name string, s sdktrace.Sampler) {
	const variable, argument = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	if name = strings.ToLower(r.env[variable]); name == "" {
		name = defaultSampler
	}
	sampler, ok := samplers[name]
	if !ok {
		names := make([]string, 0, len(samplers))
		for name := range samplers {
			names = append(names, name)
		}
		slices.Sort(names)
		r.fault(variable, "%q is not supported: give one of %s", name, strings.Join(names, ", "))
		return "", nil
	}
	ratio := 1.0
	if value := r.env[argument]; strings.HasSuffix(name, "traceidratio") && value != "" {
		var err error
		if ratio, err = strconv.ParseFloat(value, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			r.fault(argument, "%q is not a number from 0 to 1", value)
			return "", nil
		}
		name += " " + value
	}
	return name, sampler(ratio)
}

// attributes describe the process. The service's name has a variable of its
// own, which is stronger.
func (r *reader) attributes() (all []attribute.KeyValue) {
	const variable = "OTEL_RESOURCE_ATTRIBUTES"
	named := r.pairs(variable, r.env[variable])
	if name := r.env["OTEL_SERVICE_NAME"]; name != "" {
		named["service.name"] = name
	}
	if named["service.name"] == "" {
		named["service.name"] = "gerritstream"
	}
	for name, value := range named {
		all = append(all, attribute.String(name, value))
	}
	return all
}
