//go:build !unix

package peers

import "os"

// Elsewhere the only signal kills. Tests that need others need Debian anyway.
var thawSignal, endSignal = os.Kill, os.Kill

func freeze(p *os.Process) error { return p.Kill() }
