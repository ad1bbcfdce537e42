package kinesis

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// pipes is a network of pipes, as between a client and a proxy that silently
// forgets connections: existing ones can fall silent, new ones work. It uses a
// bubble's time, and is the server's listener.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	close    sync.Once

	mu    sync.Mutex
	conns []*pipe // under mu: all that were ever dialled
}

func newPipes() *pipes {
	return &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

type pipe struct {
	net.Conn
	silent atomic.Bool
}

func (p *pipe) Read(b []byte) (int, error) {
	for {
		if n, err := p.Conn.Read(b); err != nil || !p.silent.Load() {
			return n, err
		}
	}
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.silent.Load() {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

// Accept implements net.Listener.
func (n *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-n.accepted:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (n *pipes) Close() error {
	n.close.Do(func() { close(n.closed) })
	return nil
}

// Addr implements net.Listener.
func (n *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

func (n *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p := &pipe{Conn: ours}
	n.mu.Lock()
	n.conns = append(n.conns, p)
	n.mu.Unlock()
	select {
	case n.accepted <- theirs:
		return p, nil
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// silence makes all connections dialled so far fall silent.
func (n *pipes) silence() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.conns {
		p.silent.Store(true)
	}
}

// readingOverPipes starts a world whose Source reads over pipes with its
// default client.
func readingOverPipes(t *testing.T, http2 bool) (*world, *pipes) {
	t.Helper()
	w := &world{t: t, srv: aStream(t), budget: NewBudget(0)}
	network := newPipes()
	served := httptest.NewUnstartedServer(w.srv)
	_ = served.Listener.Close() // of a real network
	served.Listener, served.EnableHTTP2 = network, http2
	served.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	served.StartTLS()
	ours, ok := withoutTimeout(httpClient(nil)).(*awshttp.BuildableClient)
	if !ok {
		t.Fatal("the client is not the SDK's")
	}
	transport := ours.GetTransport()
	transport.DialContext = network.dial
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	transport.TLSClientConfig.RootCAs.AddCert(served.Certificate())
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		served.Close()
	})
	var err error
	w.src, err = New(t.Context(),
		Config{Stream: "gerrit", Region: "us-east-1", Endpoint: served.URL, Transport: http.RoundTripper(transport),
			Budget: w.budget})
	if err != nil {
		t.Fatal(err)
	}
	return w, network
}

// A silent connection is given up within seconds: with HTTP/1.1 when a request
// times out, with HTTP/2 when a ping does.
func TestSilentConnectionIsReplacedWithinSeconds(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for name, c := range map[string]struct {
		http2  bool
		within time.Duration
	}{
		"HTTP/1.1": {false, progressTimeout + time.Second},
		"HTTP/2":   {true, pingAfter + pingWithin + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, network := readingOverPipes(t, c.http2)
				var fell time.Time
				pairs := w.read(trimHorizon(), func(p pair) bool {
					if atTip(p) && fell.IsZero() {
						fell = time.Now()
						network.silence()
						w.put("b")
					}
					return !fell.IsZero() && time.Since(fell) > time.Minute || len(p.Records) > 0 && p.data()[0] == "b"
				})
				wantData(t, pairs, "a", "b")
				if took := time.Since(fell); took > c.within {
					t.Errorf("it was read again after %s, want %s at most", took, c.within)
				}
				wantRetrying(t, errorsOf(pairs), 1)
			})
		})
	}
}

// The client itself gives up a request for credentials without an answer,
// because the SDK waits for it in a goroutine that nothing else ends. A request
// to Kinesis may take longer.
func TestOnlyRequestsForCredentialsAreGivenUpByTheClient(t *testing.T) {
	const slow = time.Hour
	for name, c := range map[string]struct {
		client aws.HTTPClient
		took   time.Duration
		fails  bool
	}{
		"credentials": {httpClient(nil), credentialsTimeout, true},
		"Kinesis":     {withoutTimeout(httpClient(nil)), slow, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newPipes()
				served := &http.Server{
					ReadHeaderTimeout: time.Minute,
					Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						select {
						case <-time.After(slow):
						case <-r.Context().Done():
						}
					})}
				ended := make(chan error, 1)
				go func() { ended <- served.Serve(network) }()
				client, ok := c.client.(*awshttp.BuildableClient)
				if !ok {
					t.Fatal("the client is not the SDK's")
				}
				client = client.WithTransportOptions(
					func(tr *http.Transport) { tr.DialContext, tr.DisableKeepAlives = network.dial, true })
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", nil)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				resp, err := client.Do(r)
				if took := time.Since(began); took != c.took || (err != nil) != c.fails {
					t.Errorf("it ended after %s with %v", took, err)
				}
				if err == nil {
					_ = resp.Body.Close()
				}
				_ = served.Close()
				<-ended
			})
		})
	}
}
