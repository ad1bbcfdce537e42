package kinesis

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// hosts records the host of each request.
type hosts struct {
	next http.RoundTripper

	mu   sync.Mutex
	seen map[string][]string // under mu: operations, by host
}

// RoundTrip implements http.RoundTripper.
func (h *hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	h.mu.Lock()
	if !slices.Contains(h.seen[r.URL.Host], operation) {
		h.seen[r.URL.Host] = append(h.seen[r.URL.Host], operation)
	}
	h.mu.Unlock()
	return h.next.RoundTrip(r)
}

// All requests, from the first on, go to one kind of endpoint: before and after
// the stream's ARN is known, and with a page token.
func TestAllRequestsGoToOneKindOfEndpoint(t *testing.T) {
	const arn = "arn:aws:kinesis:us-east-1:000000000000:stream/gerrit"
	all := []string{"DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"}
	for name, c := range map[string]struct {
		change func(*Config)
		want   map[string][]string
	}{
		"by name": {func(*Config) {}, map[string][]string{"kinesis.us-east-1.amazonaws.com": all}},
		"by ARN":  {func(c *Config) { c.Stream = arn }, map[string][]string{"kinesis.us-east-1.amazonaws.com": all}},
		"of the account": {func(c *Config) { c.Stream, c.AccountEndpoints = arn, true }, map[string][]string{
			"000000000000.control-kinesis.us-east-1.amazonaws.com": all[:2],
			"000000000000.data-kinesis.us-east-1.amazonaws.com":    all[2:],
		}},
	} {
		t.Run(name, func(t *testing.T) {
			network := &hosts{seen: map[string][]string{}}
			change := func(own *Config) {
				network.next, own.Transport, own.Endpoint = own.Transport, network, ""
				c.change(own)
			}
			inBubble(t, kinesistest.Options{ShardLimit: 2000}, 1100, change, func(t *testing.T, w *world) {
				w.put("a")
				for range 2 {
					if _, err := w.src.List(t.Context()); err != nil {
						t.Fatal(err)
					}
					wantData(t, w.read(trimHorizon(), atTip), "a")
				}
				if len(network.seen) != len(c.want) {
					t.Errorf("got %v", network.seen)
				}
				for host, want := range c.want {
					if got := network.seen[host]; !slices.Equal(got, want) {
						t.Errorf("%s was asked %v, want %v", host, got, want)
					}
				}
			})
		})
	}
}

// Requests that name a consumer's ARN go where the others go.
func TestFanOutGoesToTheSameEndpoint(t *testing.T) {
	for name, c := range map[string]struct {
		accounts bool
		want     []string // hosts
	}{
		"region": {false, []string{"kinesis.us-east-1.amazonaws.com"}},
		"account": {true, []string{"000000000000.control-kinesis.us-east-1.amazonaws.com",
			"000000000000.data-kinesis.us-east-1.amazonaws.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			network := &hosts{seen: map[string][]string{}}
			change := func(own *Config) {
				network.next, own.Transport, own.Endpoint = own.Transport, network, ""
				own.Read, own.Stream, own.AccountEndpoints = ReadFanOut,
					"arn:aws:kinesis:us-east-1:000000000000:stream/gerrit", c.accounts
			}
			inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
				f := w.follow(shard0, trimHorizon())
				time.Sleep(10 * time.Second)
				f.stop()
				if got := slices.Sorted(maps.Keys(network.seen)); !slices.Equal(got, c.want) {
					t.Errorf("asked %v", network.seen)
				}
				if got := network.seen[c.want[len(c.want)-1]]; !slices.Contains(got, "SubscribeToShard") {
					t.Errorf("asked %v", network.seen)
				}
			})
		})
	}
}

// partitions of the SDK, as far as they name regions.
type partitions struct {
	Partitions []struct {
		Regions map[string]struct{}
	}
}

// The SDK does not export its list of regions; this copy must match it.
func TestRegionsAreThoseOfTheSDK(t *testing.T) {
	dir, err := exec.CommandContext(
		t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(
		filepath.Join(strings.TrimSpace(string(dir)), "internal", "endpoints", "awsrulesfn", "partitions.json"))
	if err != nil {
		t.Fatal(err)
	}
	var sdk partitions
	if err := json.Unmarshal(raw, &sdk); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, p := range sdk.Partitions {
		for region := range p.Regions {
			if !strings.HasSuffix(region, "-global") {
				want = append(want, region)
			}
		}
	}
	slices.Sort(want)
	if !slices.Equal(regions, want) {
		t.Errorf("got  %q\nwant %q", regions, want)
	}
}

func TestUnknownRegionIsWarnedAboutWithSimilarOnes(t *testing.T) {
	for name, c := range map[string]struct {
		Config
		want string // "": nothing
	}{
		"a typing error": {Config{Region: "us-wset-2"}, `region=us-wset-2 similar="[us-west-2 us-east-1 us-east-2]"`},
		"half a name":    {Config{Region: "eu-west"}, `region=eu-west similar="[eu-west-1 eu-central-1 eu-central-2]"`},
		"nothing near":   {Config{Region: "mars"}, "region=mars\n"},
		"known":          {Config{Region: "us-west-2"}, ""},
		"FIPS":           {Config{Region: "fips-us-west-2"}, ""},
		"an emulator":    {Config{Region: "mars", Endpoint: "http://localhost:4567"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c.Stream, c.Logger = "s", slog.New(slog.NewTextHandler(&out, nil))
			if _, err := New(t.Context(), c.Config); err != nil {
				t.Fatal(err)
			}
			got := out.String()
			if c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Count(got, "\n") > 1 {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
