package peers_test

import (
	"fmt"
	"slices"
	"sync"
)

// logger keeps the log of go-zookeeper, the only source of the negotiated
// timeout.
type logger struct {
	mu   sync.Mutex
	kept []string // guarded by mu
}

func (l *logger) Printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, fmt.Sprintf(format, args...))
}

func (l *logger) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.kept)
}
