package kinesis

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// faultsOf returns the mistakes in a Config, by field.
func faultsOf(c *Config) map[string]string {
	out := map[string]string{}
	joined, ok := c.Validate().(interface{ Unwrap() []error }) //nolint:errorlint // splits what is joined
	if !ok {
		return out
	}
	for _, err := range joined.Unwrap() {
		var fault *Fault
		if errors.As(err, &fault) {
			out[fault.Field] += fault.Problem
		}
	}
	return out
}

func keyed(c Credentials) Config { return Config{Stream: "s", Region: "r", Credentials: c} }

const testARN = "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit"

func TestValidConfigs(t *testing.T) {
	for name, c := range map[string]Config{
		"a name":              {Stream: "gerrit"},
		"an ARN":              {Stream: testARN},
		"an ARN's own region": {Stream: testARN, Region: "us-west-2"},
		"China":               {Stream: "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b_c-D"},
		"an endpoint":         {Stream: "s", Region: "r", Endpoint: "https://localhost:4567"},
		"account's endpoints": {Stream: testARN, AccountEndpoints: true},
		"a key":               {Stream: "s", Credentials: Credentials{AccessKeyFile: "id", SecretKeyFile: "secret"}},
		"a temporary key": {
			Stream: "s", Credentials: Credentials{
				AccessKeyFile: "id", SecretKeyFile: "secret", SessionTokenFile: "token"}},
		"a file":  {Stream: "s", Credentials: Credentials{File: "file"}},
		"fan-out": {Stream: "s", Read: ReadFanOut, ConsumerName: "a.b_c-D"},
		"a consumer": {
			Stream: testARN, Read: ReadAuto, ConsumerARN: testARN + "/consumer/c:1700000000"},
		"a consumer by name": {
			Stream: "gerrit", ConsumerARN: "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/gerrit/consumer/c:1"},
		"a role": {Stream: "s", Credentials: Credentials{RoleARN: role, ExternalID: "x"}},
	} {
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFaultsOfAConfigAreNamedWithTheirField(t *testing.T) {
	for name, c := range map[string]struct {
		Config
		field, problem string
	}{
		"no stream":       {Config{}, "Stream", "no stream is given"},
		"a stream's name": {Config{Stream: "a b"}, "Stream", `"a b" is not a stream's name`},
		"a long name":     {Config{Stream: strings.Repeat("x", 129)}, "Stream", "is not a stream's name"},
		"another ARN": {
			Config{Stream: "arn:aws:sqs:us-west-2:123456789012:q"}, "Stream", "is not the ARN of a stream"},
		"a consumer's ARN": {Config{Stream: testARN + "/consumer/x:1"}, "Stream", "is not the ARN of a stream"},
		"another region": {
			Config{Stream: testARN, Region: "eu-west-1"}, "Region",
			"eu-west-1 is not the region of the stream's ARN, us-west-2"},
		"no region":         {Config{Stream: "s", Region: "US West"}, "Region", `"US West" is not a region's name`},
		"no URL":            {Config{Stream: "s", Endpoint: "localhost:4567"}, "Endpoint", "is not a URL, such as"},
		"no URL at all":     {Config{Stream: "s", Endpoint: "http://[x"}, "Endpoint", "not a URL, such as"},
		"a user in the URL": {Config{Stream: "s", Endpoint: "http://u:SECRET@h"}, "Endpoint", "a user in it"},
		"a user without //": {Config{Stream: "s", Endpoint: "u:SECRET@h"}, "Endpoint", "a user in it"},
		"a user and no URL": {Config{Stream: "s", Endpoint: "http://u:SECRET%zz@h"}, "Endpoint", "a user in it"},
		"a user alone":      {Config{Stream: "s", Endpoint: "u:SECRET@"}, "Endpoint", "a user in it"},
		"two endpoints": {
			Config{Stream: testARN, Endpoint: "http://h", AccountEndpoints: true}, "AccountEndpoints",
			"give only one of the two"},
		"whose endpoints": {Config{Stream: "s", AccountEndpoints: true}, "AccountEndpoints", "by its ARN"},
		"no way to read":  {Config{Stream: "s", Read: "push"}, "Read", "none of poll, fan-out and auto"},
		"consumer's name": {Config{Stream: "s", ConsumerName: "a b"}, "ConsumerName", "is not a consumer's name"},
		"consumer's ARN":  {Config{Stream: "s", ConsumerARN: testARN}, "ConsumerARN", "is not the ARN of a consumer"},
		"two consumers": {
			Config{Stream: "s", ConsumerName: "c", ConsumerARN: "arn"}, "ConsumerARN", "give only one of the two"},
		"whose consumer": {
			Config{Stream: "errit", ConsumerARN: testARN + "/consumer/c:1"}, "ConsumerARN",
			"is not of the stream errit"},
		"another's consumer": {
			Config{Stream: testARN + "x", ConsumerARN: testARN + "/consumer/c:1"}, "ConsumerARN",
			"is not of the stream"},
		"no secret": {
			keyed(Credentials{AccessKeyFile: "f"}), "Credentials.SecretKeyFile",
			"a key's id is given without its secret"},
		"no secret but token": {
			keyed(Credentials{AccessKeyFile: "f", SessionTokenFile: "t"}), "Credentials.SecretKeyFile",
			"without its secret"},
		"no key": {
			keyed(Credentials{SecretKeyFile: "f"}), "Credentials.AccessKeyFile",
			"a key's secret is given without its id"},
		"only a token": {
			keyed(Credentials{SessionTokenFile: "f"}), "Credentials.SessionTokenFile", "without its key"},
		"two sources": {
			keyed(Credentials{AccessKeyFile: "f", SecretKeyFile: "f", File: "f"}), "Credentials.File",
			"give only one of the two"},
		"no role": {keyed(Credentials{ExternalID: "x"}), "Credentials.ExternalID", "without a role"},
		"a user for a role": {
			keyed(Credentials{RoleARN: "arn:aws:iam::123456789012:user/u"}), "Credentials.RoleARN",
			"is not the ARN of a role"},
	} {
		got := faultsOf(&c.Config)
		if len(got) != 1 || !strings.Contains(got[c.field], c.problem) || strings.Contains(got[c.field], "SECRET") {
			t.Errorf("%s: got %q, want %s: %s", name, got, c.field, c.problem)
		}
		if _, err := New(t.Context(), c.Config); err == nil {
			t.Errorf("%s: New takes it", name)
		}
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	c := Config{Endpoint: "x", Region: "!", Credentials: Credentials{AccessKeyFile: "f", ExternalID: "x", RoleARN: "x"}}
	got := faultsOf(&c)
	for _, field := range []string{"Stream", "Region", "Endpoint", "Credentials.SecretKeyFile", "Credentials.RoleARN"} {
		if got[field] == "" {
			t.Errorf("no fault of %s: %q", field, got)
		}
	}
}

// The SDK would ignore half a key in the environment, and then complain about
// another place.
func TestHalfAKeyInTheEnvironmentIsAFault(t *testing.T) {
	for _, c := range []struct{ set, lacks string }{
		{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY is not"}, {"AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID is not"},
	} {
		t.Run(c.set, func(t *testing.T) {
			t.Setenv(c.set, "HUSH")
			own := Config{Stream: "s", Region: "r"}
			if got := faultsOf(&own); len(got) != 1 || !strings.Contains(got[""], c.lacks) ||
				strings.Contains(got[""], "HUSH") {
				t.Errorf("got %q", got)
			}
			if _, err := New(t.Context(), own); err == nil {
				t.Error("New takes it")
			}
			files := keyed(Credentials{AccessKeyFile: "f", SecretKeyFile: "f"}) // the environment is not asked
			if err := files.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMissingRegionNamesThePlacesSearched(t *testing.T) {
	t.Setenv("AWS_PROFILE", "")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent/config")
	_, err := New(t.Context(), Config{Stream: "gerrit"})
	var fault *Fault
	if !errors.As(err, &fault) || fault.Field != "Region" {
		t.Fatalf("got %v", err)
	}
	for _, place := range []string{
		"aws.region", "--region", `"gerrit" is a name, not an ARN`, "AWS_REGION", "AWS_DEFAULT_REGION",
		"profile default of /nonexistent/config", "instance metadata service is not asked"} {
		if !strings.Contains(err.Error(), place) {
			t.Errorf("%q does not name %q", err, place)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than a line", err)
	}
}

func TestRegionIsFoundInEveryPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(
		file, []byte("[default]\nregion = ap-east-1\n[profile other]\nregion = ap-west-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		Config
		env  map[string]string
		want string
	}{
		"configured": {
			Config{Stream: "s", Region: "eu-west-1"}, map[string]string{"AWS_REGION": "eu-west-2"}, "eu-west-1"},
		"the ARN": {Config{Stream: testARN}, map[string]string{"AWS_REGION": "eu-west-2"}, "us-west-2"},
		"AWS_REGION": {
			Config{Stream: "s"}, map[string]string{"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3"},
			"eu-west-2"},
		"AWS_DEFAULT_REGION": {
			Config{Stream: "s"}, map[string]string{"AWS_DEFAULT_REGION": "eu-west-3", "AWS_CONFIG_FILE": file},
			"eu-west-3"},
		"the file": {Config{Stream: "s"}, map[string]string{"AWS_CONFIG_FILE": file}, "ap-east-1"},
		"the file's profile": {
			Config{Stream: "s"}, map[string]string{"AWS_CONFIG_FILE": file, "AWS_PROFILE": "other"}, "ap-west-1"},
		"the default's second": {
			Config{Stream: "s"}, map[string]string{"AWS_CONFIG_FILE": file, "AWS_DEFAULT_PROFILE": "other"},
			"ap-west-1"},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range c.env {
				t.Setenv(variable, value)
			}
			s, err := New(t.Context(), c.Config)
			if err != nil {
				t.Fatal(err)
			}
			if s.region != c.want {
				t.Errorf("got %s, want %s", s.region, c.want)
			}
		})
	}
}

// The error about a shared file is one line, without the file's content.
func TestUnusableSharedFileIsAFault(t *testing.T) {
	t.Setenv("AWS_PROFILE", "nobody")
	_, err := New(t.Context(), Config{Stream: "s", Region: "eu-west-1"})
	if err == nil || !strings.Contains(err.Error(), "nobody") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

// Each place for the endpoint is used: the Config before the environment.
func TestEndpointIsFoundInEveryPlace(t *testing.T) {
	for _, c := range []struct{ configured, service, all, want string }{
		{"http://a.test", "http://b.test", "http://c.test", "a.test"},
		{"", "http://b.test", "http://c.test", "b.test"},
		{"", "", "http://c.test", "c.test"},
		{"", "", "", "kinesis.us-west-2.amazonaws.com"},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL_KINESIS", c.service)
			t.Setenv("AWS_ENDPOINT_URL", c.all)
			t.Setenv("AWS_ACCESS_KEY_ID", "key")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
			hosts := &hostsSeen{}
			s, err := New(t.Context(),
				Config{Stream: "s", Region: "us-west-2", Endpoint: c.configured, Transport: hosts})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.attempt(t.Context(), target{operation: "ListShards"}, s.anyRequest)
			if err == nil || len(hosts.seen) != 1 || hosts.seen[0] != c.want {
				t.Errorf("asked %q, want %s", hosts.seen, c.want)
			}
		})
	}
}

// A password in an endpoint of the environment is refused and not shown.
func TestUserInAnEndpointOfTheEnvironmentIsAFault(t *testing.T) {
	for _, variable := range []string{"AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, "http://u:SECRET@h")
			_, err := New(t.Context(), Config{Stream: "s", Region: "eu-west-1"})
			var fault *Fault
			if !errors.As(err, &fault) || !strings.Contains(err.Error(), variable) ||
				strings.Contains(err.Error(), "SECRET") {
				t.Errorf("got %v", err)
			}
		})
	}
}
