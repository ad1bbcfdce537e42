package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// hostsSeen is a network without hosts. It records those that were asked for.
type hostsSeen struct{ seen []string }

// RoundTrip implements http.RoundTripper.
func (h *hostsSeen) RoundTrip(r *http.Request) (*http.Response, error) {
	h.seen = append(h.seen, r.URL.Host)
	return nil, errors.New("nobody is there")
}

func (s *Source) anyRequest(ctx context.Context) error {
	_, err := s.client.ListShards(ctx, &awskinesis.ListShardsInput{StreamName: &s.stream})
	return err
}

// write makes a file in dir and returns its path.
func write(tb testing.TB, dir, name, content string) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// lastRequest returns the latest request.
func (w *world) lastRequest() request {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.requests) == 0 {
		w.t.Fatal("nothing was asked for")
	}
	return w.requests[len(w.requests)-1]
}

// wantKey lists the stream, and fails unless the request was signed with a key
// and a session token.
func (w *world) wantKey(id, token string) {
	w.t.Helper()
	if _, err := w.src.List(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	r := w.lastRequest()
	if r.key() != id || r.header.Get("X-Amz-Security-Token") != token {
		w.t.Errorf("used the key %q with the token %q, want %q and %q", r.key(), r.header.Get("X-Amz-Security-Token"),
			id, token)
	}
}

func TestKeyOfTheEnvironment(t *testing.T) {
	t.Setenv("AWS_SESSION_TOKEN", "temporary")
	inBubble(t, kinesistest.Options{}, 1, nil, func(_ *testing.T, w *world) { w.wantKey("key", "temporary") })
}

// The files are read again every five minutes, and a changed key is used from
// then on.
func TestKeyFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	id, secret, token := write(t, dir, "id", " ID1\n"), write(t, dir, "secret", "S1\n"), write(t, dir, "token", "T1\n")
	files := func(c *Config) {
		c.Credentials.AccessKeyFile, c.Credentials.SecretKeyFile, c.Credentials.SessionTokenFile = id, secret, token
	}
	inBubble(t, kinesistest.Options{}, 1, files, func(t *testing.T, w *world) {
		w.wantKey("ID1", "T1")
		for _, name := range []string{"id", "secret", "token"} {
			write(t, dir, name, strings.ToUpper(name)+"2")
		}
		time.Sleep(4 * time.Minute)
		w.wantKey("ID1", "T1")
		time.Sleep(time.Minute + time.Second)
		w.wantKey("ID2", "TOKEN2")
	})
}

// credentialsFile returns a file in the format of the shared credentials file.
func credentialsFile(id string) string {
	return "[default]\naws_access_key_id = " + id + "\naws_secret_access_key = S\naws_session_token = T\n" +
		"[other]\naws_access_key_id = OTHER\naws_secret_access_key = S\n[empty]\nregion = eu-west-1\n"
}

func TestCredentialsFileIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "credentials", credentialsFile("ID1"))
	inBubble(t, kinesistest.Options{}, 1, func(c *Config) { c.Credentials.File = path }, func(t *testing.T, w *world) {
		w.wantKey("ID1", "T")
		write(t, dir, "credentials", credentialsFile("ID2"))
		time.Sleep(rereadInterval + time.Second)
		w.wantKey("ID2", "T")
	})
}

func TestCredentialsFileHasTheProfileOfTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "credentials", credentialsFile("ID1"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
	t.Setenv("AWS_PROFILE", "other")
	inBubble(t, kinesistest.Options{}, 1, func(c *Config) { c.Credentials.File = path },
		func(_ *testing.T, w *world) { w.wantKey("OTHER", "") })
}

// A key that the service refuses is read again at once, while reading and while
// listing.
func TestRefusedKeyIsReadAgainAtOnce(t *testing.T) {
	for code, status := range map[string]int{
		"UnrecognizedClientException": 400, "ExpiredTokenException": 400, "InvalidSignatureException": 403} {
		dir := t.TempDir()
		id, secret := write(t, dir, "id", "OLD"), write(t, dir, "secret", "S")
		files := func(c *Config) { c.Credentials.AccessKeyFile, c.Credentials.SecretKeyFile = id, secret }
		inBubble(t, kinesistest.Options{}, 1, files, func(t *testing.T, w *world) {
			w.put("a")
			old := func(r *kinesistest.Request) bool {
				return strings.Contains(r.Header.Get("Authorization"), "Credential=OLD/")
			}
			w.wantKey("OLD", "")
			w.srv.On(kinesistest.Hook{Match: old, Do: kinesistest.Fail(code, "refused", status)})
			if _, err := w.src.List(t.Context()); !errors.Is(err, gerritstream.ErrDenied) {
				t.Fatalf("%s: got %v", code, err)
			}
			pairs := w.read(trimHorizon(), func(p pair) bool {
				write(t, dir, "id", "NEW")
				return atTip(p)
			})
			wantRetrying(t, errorsOf(pairs), 1)
			wantData(t, pairs, "a")
		})
	}
}

// Files without a usable key are a denial, in one line that names the file and
// quotes nothing of it.
func TestUnusableFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	good, empty, two := write(t, dir, "good", "HUSH"), write(t, dir, "empty", " \n"), write(t, dir, "two", "HUSH HUSH")
	shared := write(t, dir, "shared", credentialsFile("HUSH"))
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"missing": {func(c *Config) {
			c.Credentials.AccessKeyFile, c.Credentials.SecretKeyFile = good, dir+"/nothing"
		}, "nothing: no such file"},
		"empty": {func(c *Config) { c.Credentials.AccessKeyFile, c.Credentials.SecretKeyFile = empty, good },
			empty + " is empty"},
		"two words": {func(c *Config) { c.Credentials.AccessKeyFile, c.Credentials.SecretKeyFile = good, two },
			two + " holds more than one word"},
		"empty token": {func(c *Config) {
			c.Credentials.AccessKeyFile, c.Credentials.SecretKeyFile, c.Credentials.SessionTokenFile = good, good, empty
		}, empty + " is empty"},
		"missing file": {func(c *Config) { c.Credentials.File = dir + "/nothing" }, "nothing: no such file"},
		"no ini":       {func(c *Config) { c.Credentials.File = two }, two},
	} {
		inBubble(t, kinesistest.Options{}, 1, c.change, func(t *testing.T, w *world) { wantDenied(t, w, name, c.want) })
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", shared)
	t.Setenv("AWS_PROFILE", "empty")
	inBubble(t, kinesistest.Options{}, 1, func(c *Config) { c.Credentials.File = shared },
		func(t *testing.T, w *world) {
			wantDenied(t, w, "no keys in it", "profile empty of "+shared+" has no key and secret")
		})
}

func wantDenied(t *testing.T, w *world, name, want string) {
	t.Helper()
	_, err := w.src.List(t.Context())
	if !errors.Is(err, gerritstream.ErrDenied) {
		t.Errorf("%s: got %v", name, err)
		return
	}
	if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "HUSH") ||
		strings.Contains(text, "\n") {
		t.Errorf("%s: got %q, want %q", name, text, want)
	}
	if len(w.requests) > 0 {
		t.Errorf("%s: something was asked for all the same", name)
	}
	if w.seen("DescribeStreamSummary Credentials") != 1 {
		t.Errorf("%s: the observer was shown %q", name, w.codes)
	}
}

func TestMissingCredentialsNameThePlacesSearched(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		src, err := New(t.Context(),
			Config{Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test", Transport: w.srv.Transport(),
				Observer: w})
		if err != nil {
			t.Fatal(err)
		}
		w.src = src
		wantDenied(t, w, "nothing",
			"no credentials: none in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), none in profile "+
				"default of /nonexistent/credentials or /nonexistent/config, no web identity, no container's role, "+
				"and "+
				"no instance's role (AWS_EC2_METADATA_DISABLED: the metadata service is not asked)")
	})
}

// metadata is a network with nothing but an instance's metadata service.
type metadata func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (m metadata) RoundTrip(r *http.Request) (*http.Response, error) { return m(r) }

// An instance's metadata service that exists and does not work is transient
// trouble. Its silence is not taken for an answer.
func TestProblemOfTheMetadataServiceIsReported(t *testing.T) {
	withoutKeys(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	status := func(code int) metadata {
		return func(r *http.Request) (*http.Response, error) { return answer(r, code, ""), nil }
	}
	for name, c := range map[string]struct {
		metadata
		want   string
		denied bool
	}{
		"no role": {status(http.StatusNotFound),
			"and no instance's role (the metadata service answers with status 404)", true},
		"forbidden": {status(http.StatusForbidden),
			"and no instance's role (the metadata service answers with status 403)", true},
		"nobody there": {func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}, "and no instance's role (there is no metadata service: 169.254.169.254: dial tcp: connection refused)",
			true},
		"silent": {func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, "and no usable answer of the metadata service within 5s", false},
		"broken": {status(http.StatusBadGateway), "and no usable answer of the metadata service", false},
	} {
		t.Run(name, func(t *testing.T) {
			inFiles(t, func(c2 *Config) { c2.Transport = c.metadata }, func(t *testing.T, w *world) {
				_, err := w.src.attempt(t.Context(), target{operation: "ListShards"}, w.src.anyRequest)
				if err == nil || !strings.Contains(err.Error(), c.want) ||
					errors.Is(err, gerritstream.ErrDenied) != c.denied {
					t.Errorf("got %v\nwant %s, denied: %v", err, c.want, c.denied)
				}
				time.Sleep(credentialsWait)
			})
		})
	}
}

// tokenService is a token service before a network. It issues keys for a role,
// each valid for as long as requested by the service's own clock.
type tokenService struct {
	next  http.RoundTripper
	deny  func(form url.Values) (code, message string, status int) // nil: nothing is denied
	clock time.Duration                                            // how far ahead of the local one

	mu    sync.Mutex
	asked []url.Values // under mu
	keys  []string     // under mu: ids that signed its requests
}

// tokenHost is the token service's host.
const tokenHost = "sts.us-east-1.amazonaws.com"

// RoundTrip implements http.RoundTripper.
func (s *tokenService) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != tokenHost {
		return s.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, form)
	s.keys = append(s.keys, request{header: r.Header}.key())
	if s.deny != nil {
		if code, message, status := s.deny(form); code != "" {
			return answer(r, status, "<ErrorResponse><Error><Type>Sender</Type><Code>"+code+"</Code><Message>"+message+
				"</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"), nil
		}
	}
	seconds, _ := strconv.Atoi(form.Get("DurationSeconds"))
	if seconds == 0 {
		seconds = 3600 // as it is for a web identity
	}
	now := time.Now().Add(s.clock).UTC()
	reply := answer(r, http.StatusOK,
		fmt.Sprintf("<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>ASSUMED%[2]d</AccessKeyId>"+
			"<SecretAccessKey>S</SecretAccessKey><SessionToken>T%[2]d</SessionToken><Expiration>%[3]s</Expiration>"+
			"</Credentials></%[1]sResult></%[1]sResponse>",
			form.Get("Action"), len(s.asked), now.Add(time.Duration(seconds)*time.Second).Format(time.RFC3339)))
	reply.Header.Set("Date", now.Format(http.TimeFormat))
	return reply, nil
}

// times returns how often the service was asked.
func (s *tokenService) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		Status: fmt.Sprint(status), StatusCode: status, Header: http.Header{"Content-Type": {"text/xml"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}
}

// assuming makes a test's Source assume the role through the token service.
func (s *tokenService) assuming(c *Config) {
	s.next, c.Transport = c.Transport, s
	c.Credentials.RoleARN, c.Credentials.ExternalID = role, "outside"
}

func TestRoleIsAssumedWithItsExternalIDAndRenewed(t *testing.T) {
	var tokens tokenService
	inBubble(t, kinesistest.Options{}, 1, tokens.assuming, func(t *testing.T, w *world) {
		w.wantKey("ASSUMED1", "T1")
		form := tokens.asked[0]
		if form.Get("Action") != "AssumeRole" || form.Get("RoleArn") != role || form.Get("ExternalId") != "outside" ||
			tokens.keys[0] != "key" {
			t.Errorf("asked for %v with the key %s", form, tokens.keys[0])
		}
		w.wantKey("ASSUMED1", "T1")
		time.Sleep(54 * time.Minute)
		w.wantKey("ASSUMED1", "T1")
		time.Sleep(2 * time.Minute) // the credentials are renewed before they end
		w.wantKey("ASSUMED2", "T2")
		got, err := w.src.Describe(t.Context())
		if want := role + ", assumed with EnvConfigCredentials"; err != nil || got.Credentials != want {
			t.Errorf("got %q, %v, want %q", got.Credentials, err, want)
		}
	})
}

// The role is assumed with the current key of the files.
func TestRoleIsAssumedWithTheKeyOfTheFiles(t *testing.T) {
	dir := t.TempDir()
	id, secret := write(t, dir, "id", "ID1"), write(t, dir, "secret", "S")
	var tokens tokenService
	change := func(c *Config) {
		tokens.assuming(c)
		c.Credentials.AccessKeyFile, c.Credentials.SecretKeyFile, c.Credentials.ExternalID = id, secret, ""
	}
	inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
		w.wantKey("ASSUMED1", "T1")
		write(t, dir, "id", "ID2")
		time.Sleep(56 * time.Minute)
		w.wantKey("ASSUMED2", "T2")
		if got := strings.Join(tokens.keys, " "); got != "ID1 ID2" || tokens.asked[0].Has("ExternalId") {
			t.Errorf("asked with the keys %s for %v", got, tokens.asked[0])
		}
		got, err := w.src.Describe(t.Context())
		if err != nil || !strings.HasPrefix(got.Credentials, role+", assumed with the files "+id) {
			t.Errorf("got %q, %v", got.Credentials, err)
		}
	})
}

// A key that the token service refuses is read again at once.
func TestKeyThatTheTokenServiceRefusesIsReadAgain(t *testing.T) {
	dir := withoutKeys(t)
	id, secret := write(t, dir, "id", "OLD"), write(t, dir, "secret", "S")
	write(t, dir, "credentials", credentialsFile("OLD"))
	for name, files := range map[string]func(*Config){
		"files of its own": func(c *Config) { c.Credentials.AccessKeyFile, c.Credentials.SecretKeyFile = id, secret },
		"the shared files": func(*Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			var tokens tokenService
			tokens.deny = func(url.Values) (string, string, int) {
				if tokens.keys[len(tokens.keys)-1] == "OLD" {
					return "InvalidClientTokenId", "The security token included in the request is invalid.", 403
				}
				return "", "", 0
			}
			inFiles(t, func(c *Config) { tokens.assuming(c); files(c) }, func(_ *testing.T, w *world) {
				w.denied()
				write(t, dir, "id", "NEW")
				write(t, dir, "credentials", credentialsFile("NEW"))
				w.wantKey("ASSUMED2", "T2")
				write(t, dir, "id", "OLD")
				write(t, dir, "credentials", credentialsFile("OLD"))
			})
		})
	}
}

func TestRoleThatMayNotBeAssumedIsDenied(t *testing.T) {
	const message = "User: arn:aws:iam::123456789012:user/u is not authorized to perform: sts:AssumeRole on " +
		"resource: " + role
	tokens := tokenService{deny: func(url.Values) (string, string, int) { return "AccessDenied", message, 403 }}
	inBubble(t, kinesistest.Options{}, 1, tokens.assuming, func(t *testing.T, w *world) {
		wantDenied(t, w, "role", "sts:AssumeRole on "+role+": AccessDenied: "+message)
	})
}

// Trouble with the token service is transient: no reason to give up, or to exit
// with the code of a missing permission.
func TestTroubleWithTheTokenServiceIsTransient(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"throttled": {(&tokenService{
			deny: func(url.Values) (string, string, int) { return "Throttling", "Rate exceeded", 400 }}).assuming,
			"Rate exceeded"},
		"broken": {(&tokenService{
			deny: func(url.Values) (string, string, int) { return "InternalFailure", "oops", 500 }}).assuming, "oops"},
		"no network": {func(c *Config) {
			c.Credentials.RoleARN, c.Transport = role, &unreachable{c.Transport}
		}, "nobody is there"},
		"silent": {waits["for credentials"].change, "no answer within 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, c.change, func(t *testing.T, w *world) {
				w.put("a")
				_, err := w.src.List(t.Context())
				if err == nil || errors.Is(err, gerritstream.ErrDenied) || !strings.Contains(err.Error(), c.want) ||
					strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v", err)
				}
				pairs := w.read(trimHorizon(), after(3))
				wantRetrying(t, errorsOf(pairs), 3)
				time.Sleep(credentialsWait)
			})
		})
	}
}

// unreachable is a network without the token service.
type unreachable struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (u *unreachable) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Host, "sts.") {
		return nil, errors.New("nobody is there")
	}
	return u.next.RoundTrip(r)
}

// A token service that once did not answer does not keep later callers waiting.
func TestTokenServiceThatWasSilentIsAskedAgain(t *testing.T) {
	tokens := &tokenService{}
	var silent *switched
	change := func(c *Config) {
		tokens.assuming(c)
		silent = &switched{hanging: hanging{tokens, "sts.us-east-1.amazonaws.com"}, on: true}
		c.Transport = silent
	}
	inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
		w.put("a")
		back := time.AfterFunc(time.Minute, func() { silent.set(false) })
		defer back.Stop()
		began := time.Now()
		pairs := w.read(trimHorizon(), atTip)
		wantData(t, pairs, "a")
		wantRetrying(t, errorsOf(pairs), len(errorsOf(pairs)))
		if took := time.Since(began); took > time.Minute+credentialsWait+maxFailedBound {
			t.Errorf("it took %s", took)
		}
		time.Sleep(credentialsWait)
	})
}

// switched hangs while it is on.
type switched struct {
	hanging
	mu sync.Mutex
	on bool // under mu
}

func (s *switched) set(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = on
}

// RoundTrip implements http.RoundTripper.
func (s *switched) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	on := s.on
	s.mu.Unlock()
	if on {
		return s.hanging.RoundTrip(r)
	}
	return s.next.RoundTrip(r)
}
