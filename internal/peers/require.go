package peers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Component is something from outside the module that a test needs.
type Component struct {
	name    string
	install string // a command, run in the root of the repository
	missing func() error
}

const apt = "apt-get install -y --no-install-recommends "

// The components. `make deps` installs all of them where it may.
var (
	// NPM is node and the emulators of internal/peers/npm: kinesalite and
	// kinesis-local.
	NPM = Component{"kinesalite and kinesis-local", "npm ci --prefix internal/peers/npm", missingNPM}

	// JavaScriptSDK is node and the AWS SDK for JavaScript, of the same
	// packages.
	JavaScriptSDK = Component{"the AWS SDK for JavaScript", "npm ci --prefix internal/peers/npm", missingJavaScriptSDK}

	// Boto3 is Debian's boto3 for Debian's python3.
	Boto3 = Component{"boto3", apt + "python3-boto3", missingModule("boto3")}

	// AWSCLI is Debian's AWS command line.
	AWSCLI = Component{"the AWS command line", apt + "awscli", missingFile(awsCommand)}

	// SQLite is Debian's sqlite3.
	SQLite = Component{"sqlite3", apt + "sqlite3", missingFile("/usr/bin/sqlite3")}

	// DebianZooKeeper is Debian's ZooKeeper: its jars and a Java to run them.
	DebianZooKeeper = Component{"ZooKeeper", apt + "zookeeper", missingZooKeeper}

	// Kazoo is Debian's kazoo, Zuul's ZooKeeper client, for Debian's python3.
	Kazoo = Component{"kazoo", apt + "python3-kazoo", missingModule("kazoo")}

	// Python is Debian's python3, which has sqlite3 built in.
	Python = Component{"python3", apt + "python3", missingFile(pythonCommand)}

	// Shell is what the documented examples for a shell use.
	Shell = Component{"curl and jq", apt + "curl jq", missingCommands("curl", "jq")}

	// RPM is Debian's rpm.
	RPM = Component{"rpm", apt + "rpm", missingFile("/usr/bin/rpm")}

	// Systemd is Debian's systemd: its user manager runs units without being
	// the system's. It needs namespaces, and so root.
	Systemd = Component{"systemd", apt + "systemd", missingFile(systemdCommand)}
)

// Debian's own, by path: a `python3` or an `aws` on PATH may be another one,
// without boto3.
const (
	pythonCommand  = "/usr/bin/python3"
	awsCommand     = "/usr/bin/aws"
	systemdCommand = "/lib/systemd/systemd"
)

// Require skips a test that lacks a component, naming the command that installs
// it. With CI=true, and for root, who can install it, the test fails instead.
func Require(tb testing.TB, components ...Component) {
	tb.Helper()
	report := tb.Skipf
	if os.Getenv("CI") == "true" || os.Geteuid() == 0 {
		report = tb.Fatalf
	}
	for _, c := range components {
		if err := c.missing(); err != nil {
			report("%s: %v; install with: %s", c.name, err, c.install)
		}
	}
}

// Wanted reports whether a test that needs a component is to run: it is there,
// or its absence must fail the test.
func (c Component) Wanted() bool {
	return c.missing() == nil || os.Getenv("CI") == "true" || os.Geteuid() == 0
}

func missingNPM() error {
	if _, err := exec.LookPath("node"); err != nil {
		return fmt.Errorf("find node: %w", err)
	}
	for _, e := range []emulator{kinesalite, kinesisLocal} {
		main, err := e.path()
		if err != nil {
			return err
		}
		if _, err := os.Stat(main); err != nil {
			return err
		}
	}
	return nil
}

func missingJavaScriptSDK() error {
	if _, err := exec.LookPath("node"); err != nil {
		return fmt.Errorf("find node: %w", err)
	}
	root, err := moduleRoot()
	if err == nil {
		_, err = os.Stat(filepath.Join(root, "internal", "peers", "npm", "node_modules", "@aws-sdk", "client-kinesis"))
	}
	return err
}

// missingModule checks that Debian's python3 finds a module.
func missingModule(name string) func() error {
	return func() error {
		out, err := PythonCommand(context.Background(), "import "+name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("import %s with %s: %w: %s", name, pythonCommand, err, out)
		}
		return nil
	}
}

func missingCommands(names ...string) func() error {
	return func() error {
		for _, name := range names {
			if _, err := exec.LookPath(name); err != nil {
				return err
			}
		}
		return nil
	}
}

func missingFile(path string) func() error {
	return func() error {
		_, err := os.Stat(path)
		return err
	}
}

// Environment returns this process' environment for a program that talks to an
// emulator: made-up credentials and a region, no configuration of the user's,
// no metadata service, and no proxy for the loopback interface.
func Environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "AWS_") })
	return append(env,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_DEFAULT_REGION=us-east-1", "AWS_REGION=us-east-1",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
		"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1",
	)
}

// AWS runs Debian's AWS command line, `aws kinesis ARGS`, against an endpoint
// and returns its output: JSON. It needs [AWSCLI]. A command that fails fails
// the test.
func AWS(tb testing.TB, endpoint string, args ...string) []byte {
	tb.Helper()
	Require(tb, AWSCLI)
	args = append([]string{"--endpoint-url", endpoint, "--output", "json", "kinesis"}, args...)
	cmd := exec.CommandContext(tb.Context(), awsCommand, args...)
	cmd.Env = append(Environment(), "AWS_PAGER=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("aws %q: %v: %s", args, err, &stderr)
	}
	return out
}

// moduleRoot returns the folder of go.mod, somewhere above the folder of the
// package whose tests run.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find module root: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("find module root: no go.mod above the working folder")
		}
		dir = parent
	}
}
