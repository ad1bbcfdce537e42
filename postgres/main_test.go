package postgres_test

import (
	"os"
	"testing"
)

// serverURL returns the URL of the server that the package's tests share.
func serverURL(t testing.TB) string {
	t.Helper()
	url := os.Getenv("GERRITSTREAM_TEST_POSTGRES")
	if url == "" {
		t.Skip("GERRITSTREAM_TEST_POSTGRES is not set")
	}
	return url
}
