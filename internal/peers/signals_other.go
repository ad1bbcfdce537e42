//go:build !unix

package peers

import "os"

// Elsewhere the only signal kills. What would need the others needs Debian's
// packages anyway.
var thawSignal, endSignal = os.Kill, os.Kill

func freeze(p *os.Process) error { return p.Kill() }
