package kinesis

import (
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// TestIsolatedTakesNothingOfTheEnvironment: what is set up for AWS, rightly or
// wrongly, has no effect.
func TestIsolatedTakesNothingOfTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "half a key", "AWS_PROFILE": "missing",
		"AWS_CA_BUNDLE": "/missing.pem",
		"AWS_REGION":    "nowhere-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_CONFIG_FILE": t.TempDir(),
	} {
		t.Setenv(name, value)
	}
	srv := kinesistest.New(kinesistest.Options{Region: "eu-north-1"})
	arn, err := srv.CreateStream("gerrit", 1)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Stream: "gerrit", Region: "eu-north-1", Transport: srv.Transport(), Isolated: true}
	src, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	d, err := src.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.StreamARN != arn || d.Region != "eu-north-1" || !strings.Contains(d.Credentials, "made up") {
		t.Errorf("got %+v", d)
	}
	c.Region = ""
	if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no region is given") {
		t.Errorf("without a region: %v", err)
	}
}
