package consumer

import (
	"cmp"
	"os"
	"runtime/debug"
	"strconv"
)

// introduce fills in what a configuration leaves out of who this process is.
func introduce(cfg *Config) {
	a := &cfg.Self
	if a.Host == "" {
		a.Host, _ = os.Hostname()
		a.Host = cmp.Or(a.Host, "localhost")
	}
	if a.PID == 0 {
		a.PID = os.Getpid()
	}
	if a.Version == "" {
		if info, ok := debug.ReadBuildInfo(); ok {
			a.Version = info.Main.Version
		}
	}
	if cfg.Process == "" {
		cfg.Process = a.Host + "-" + strconv.Itoa(a.PID)
	}
}
