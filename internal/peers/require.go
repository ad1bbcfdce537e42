package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Component is something from outside the module that a test needs.
type Component struct {
	name    string
	install string // the command that installs it, from the root of the repository
	missing func() error
}

// The components. `make deps` installs all of them where it may.
var (
	// NPM is node and the packages of internal/peers/npm: kinesalite and
	// kinesis-local.
	NPM = Component{"kinesalite and kinesis-local", "npm ci --prefix internal/peers/npm", missingNPM}

	// Boto3 is Debian's boto3 for Debian's python3.
	Boto3 = Component{"boto3", "apt-get install -y --no-install-recommends python3-boto3", missingModule("boto3")}

	// AWSCLI is Debian's AWS command line.
	AWSCLI = Component{"the AWS command line", "apt-get install -y --no-install-recommends awscli", missingFile(awsCommand)}

	// SQLite is Debian's sqlite3.
	SQLite = Component{"sqlite3", "apt-get install -y --no-install-recommends sqlite3", missingFile("/usr/bin/sqlite3")}

	// DebianZooKeeper is Debian's ZooKeeper: its jars and a Java to run them.
	// Debian's own service is not started.
	DebianZooKeeper = Component{"ZooKeeper", "apt-get install -y --no-install-recommends zookeeper", missingZooKeeper}

	// Kazoo is Debian's kazoo, ZooKeeper's client that Zuul uses, for Debian's
	// python3.
	Kazoo = Component{"kazoo", "apt-get install -y --no-install-recommends python3-kazoo", missingModule("kazoo")}

	// Python is Debian's python3, which has sqlite3 built in.
	Python = Component{"python3", "apt-get install -y --no-install-recommends python3", missingFile(pythonCommand)}
)

// Debian's own, by path: a `python3` or an `aws` found on PATH may be another
// one, without boto3.
const (
	pythonCommand = "/usr/bin/python3"
	awsCommand    = "/usr/bin/aws"
)

// Require lets a test go on only with all the components. One that is missing
// is named together with the command that installs it, and the test is skipped;
// with CI=true and for root, who can install it, the test fails instead.
func Require(tb testing.TB, components ...Component) {
	tb.Helper()
	for _, c := range components {
		err := c.missing()
		if err == nil {
			continue
		}
		report := tb.Skipf
		if skipForbidden() {
			report = tb.Fatalf
		}
		report("%s: %v; install with: %s", c.name, err, c.install)
	}
}

// skipForbidden says that what is missing is a failure.
func skipForbidden() bool {
	return os.Getenv("CI") == "true" || os.Geteuid() == 0
}

func missingNPM() error {
	if _, err := exec.LookPath("node"); err != nil {
		return fmt.Errorf("find node: %w", err)
	}
	for _, p := range []peer{kinesalite, kinesisLocal} {
		main, err := p.path(p.main)
		if err != nil {
			return err
		}
		if err := missingFile(main)(); err != nil {
			return err
		}
	}
	return nil
}

// missingModule says whether Debian's python3 finds a module.
func missingModule(name string) func() error {
	return func() error {
		if err := missingFile(pythonCommand)(); err != nil {
			return err
		}
		out, err := PythonCommand(context.Background(), "import "+name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("import %s with %s: %w: %s", name, pythonCommand, err, out)
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

// moduleRoot returns the folder of go.mod: tests run in their package's folder,
// somewhere below it.
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
