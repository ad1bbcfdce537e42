//go:build !unix

package peers

import "os"

// Elsewhere the only signal kills. What would need the others needs Debian's packages anyway.
var freezeSignal, thawSignal, endSignal = os.Kill, os.Kill, os.Kill
