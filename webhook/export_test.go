package webhook

// What tests of the parts use.
var (
	Ranking = ranking
	BackOff = backOff
)

// HasProxy reports whether a Sender may use a proxy.
func HasProxy(s *Sender) bool { return s.transport.Proxy != nil }
