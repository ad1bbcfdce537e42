package postgres_test

import (
	"flag"
	"os"
	"sync"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// TestMain runs more tests at a time than there are processors: they wait for
// most of their time.
func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "12")
	os.Exit(m.Run())
}

// testDatabase is the database of the package's tests, on the server that they
// share. Each test has a schema of its own.
const testDatabase = "postgres_test"

var theServer = struct {
	once sync.Once
	url  string
}{url: os.Getenv("GERRITSTREAM_TEST_POSTGRES")}

// serverURL returns the URL of the tests' database. GERRITSTREAM_TEST_POSTGRES
// names another one, of a server that stays.
func serverURL(tb testing.TB) string {
	tb.Helper()
	peers.Require(tb, peers.PostgreSQL)
	theServer.once.Do(func() {
		if theServer.url == "" {
			server := peers.SharedPostgreSQL(tb)
			server.SQL(tb, "postgres", "CREATE DATABASE "+testDatabase)
			theServer.url = server.URL(testDatabase)
		}
	})
	return theServer.url
}
