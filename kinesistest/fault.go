package kinesistest

import (
	"fmt"
	"net/http"
)

// Fault is an error as the service reports it.
type Fault struct {
	Code    string // "ResourceNotFoundException"
	Message string
	Status  int // of HTTP; 0 means 400
}

// Error implements error.
func (f *Fault) Error() string { return f.Code + ": " + f.Message }

func fault(code, format string, args ...any) *Fault {
	return &Fault{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

func invalid(format string, args ...any) *Fault {
	return fault("InvalidArgumentException", format, args...)
}

func (s *Server) streamNotFound(name, account string) *Fault {
	return fault("ResourceNotFoundException", "Stream %s under account %s not found.", name, account)
}

func (s *Server) shardNotFound(id string, st *stream) *Fault {
	return fault("ResourceNotFoundException", "Could not find shard %s in stream %s under account %s.",
		id, st.name, s.opts.Account)
}

func (s *Server) notActive(st *stream) *Fault {
	return fault("ResourceInUseException", "Stream %s under account %s not ACTIVE, instead in state %s",
		st.name, s.opts.Account, st.status())
}

func (s *Server) rateExceeded(sh *shard) *Fault {
	return fault("ProvisionedThroughputExceededException", "Rate exceeded for shard %s in stream %s under account %s.",
		sh.id, sh.stream.name, s.opts.Account)
}
