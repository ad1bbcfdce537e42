package kinesis

import (
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// secured is an embedded Kinesis that is served over TLS on loopback.
type secured struct {
	*httptest.Server
	bundle string          // the file with its authority's certificate
	came   [3]atomic.Int64 // requests, by HTTP's major version
}

// serveTLS serves a handler over TLS until the test ends: over HTTP/2 and
// HTTP/1.1, or over HTTP/1.1 alone.
func serveTLS(t *testing.T, h http.Handler, http2 bool) *secured {
	t.Helper()
	s := &secured{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.came[r.ProtoMajor].Add(1)
		h.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = http2
	// handshakes that the client ends are expected
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.bundle = write(t, t.TempDir(), "ca.pem",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	return s
}

// aStream returns an embedded Kinesis with a stream "gerrit" of one shard with
// one record.
func aStream(t *testing.T) *kinesistest.Server {
	t.Helper()
	srv := kinesistest.New(kinesistest.Options{})
	if _, err := srv.CreateStream("gerrit", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.PutTo("gerrit", string(shard0), "k", []byte("a")); err != nil {
		t.Fatal(err)
	}
	return srv
}

// readOne lists the stream and reads its first record.
func readOne(t *testing.T, c *Config) error {
	t.Helper()
	src, err := New(t.Context(), *c)
	if err != nil {
		return err
	}
	if _, err := src.List(t.Context()); err != nil {
		return err
	}
	for page, err := range src.Read(t.Context(), shard0, trimHorizon()) {
		if err != nil {
			return err
		}
		if len(page.Records) != 1 || string(page.Records[0].Data) != "a" {
			t.Errorf("got %v", page.Records)
		}
		page.Done()
		break
	}
	return nil
}

// The authorities that the user has configured for AWS count for Kinesis, over
// HTTP/1.1 and HTTP/2, and no others do.
func TestAuthoritiesOfTheUserAreTrusted(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for name, major := range map[string]int{"HTTP/1.1": 1, "HTTP/2": 2} {
		t.Run(name, func(t *testing.T) {
			served := serveTLS(t, aStream(t), major == 2)
			c := &Config{Stream: "gerrit", Region: "us-east-1", Endpoint: served.URL}
			t.Run("AWS_CA_BUNDLE", func(t *testing.T) {
				t.Setenv("AWS_CA_BUNDLE", served.bundle)
				if err := readOne(t, c); err != nil {
					t.Error(err)
				}
			})
			t.Run("ca_bundle", func(t *testing.T) {
				t.Setenv("AWS_CONFIG_FILE",
					write(t, t.TempDir(), "config", "[default]\nca_bundle = "+served.bundle+"\n"))
				if err := readOne(t, c); err != nil {
					t.Error(err)
				}
			})
			if served.came[major].Load() == 0 || served.came[3-major].Load() > 0 {
				t.Errorf("%d requests came over HTTP/1.1, %d over HTTP/2", served.came[1].Load(), served.came[2].Load())
			}
			t.Run("neither", func(t *testing.T) {
				src, err := New(t.Context(), *c)
				if err != nil {
					t.Fatal(err)
				}
				_, err = src.attempt(t.Context(), target{operation: "ListShards"}, src.anyRequest)
				if err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// The authorities count for the token service too.
func TestAuthoritiesOfTheUserAreTrustedForARole(t *testing.T) {
	tokens := &tokenService{}
	served := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Host = tokenHost
		resp, err := tokens.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}), false)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_ENDPOINT_URL_STS", served.URL)
	t.Setenv("AWS_CA_BUNDLE", served.bundle)
	src, err := New(t.Context(), Config{Stream: "gerrit", Region: "us-east-1", Credentials: Credentials{RoleARN: role}})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := src.credentials.Retrieve(t.Context()); err != nil || found.AccessKeyID != "ASSUMED1" {
		t.Errorf("got %v, %v", found.AccessKeyID, err)
	}
}
