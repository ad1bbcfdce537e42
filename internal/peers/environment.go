package peers

import (
	"os"
	"slices"
	"strings"
)

// Environment returns this process' environment for a program that talks to an
// emulator: made-up credentials and a region, no configuration of the user's,
// no metadata service, and no proxy before the loopback interface.
func Environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "AWS_")
	})
	return append(env,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_DEFAULT_REGION=us-east-1", "AWS_REGION=us-east-1",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
		"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1",
	)
}
