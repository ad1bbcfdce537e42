// Package test holds the checks of the repository as a whole: which package may
// import which, and whether the documentation names tests that exist. The tests
// of the program from outside are in e2e.
package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gerritstream/gerritstream"

// house says what of the module's own each package may import outside its
// tests: "cmd -> internal/daemon -> consumer
// -> internal/plan -> root <- adapters". A path stands for itself
// alone; "" is the root. A package that is not here has no place yet: give it
// one.
var house = map[string][]string{
	"":                  {},
	"gerrit":            {},
	"gerrittest":        {"gerrit"},
	"kinesistest":       {},
	"internal/plan":     {""},
	"internal/trouble":  {""},
	"pauses":            {""},
	"consumer":          {"", "internal/plan", "internal/traceparent", "internal/trouble", "pauses"},
	"internal/storekit": {"", "queue"},
	"internal/lease":    {"", "internal/storekit"},
	"kinesis":           {"", "internal/near", "internal/trouble"},
	"queue":             {"", "gerrit"},
	"sqlite":            {"", "queue", "webhook", "internal/lease", "internal/storekit", "pauses"},
	"postgres":          {"", "pauses", "queue", "webhook", "internal/lease", "internal/storekit"},
	"zookeeper":         {"", "internal/storekit", "internal/traceparent", "internal/trouble", "pauses"},
	"sink":              {""},
	"webhook":           {"", "queue", "sink", "internal/traceparent"},
	"storetest":         {"", "queue", "webhook", "internal/history", "internal/storekit", "pauses"},
	"internal/crowd":    {},
	"internal/history":  {""},
	"internal/iam":      {},
	"internal/near":     {},
	"internal/replay":   {"", "queue"},
	"internal/when":     {},
	"internal/hooks":    {"queue", "webhook", "internal/when"},
	"internal/overview": {"", "queue", "internal/hooks", "internal/trouble", "pauses"},
	"internal/peers":    {},

	"internal/telemetry":   {"", "consumer", "internal/traceparent"},
	"internal/traceparent": {},

	"internal/telemetry/telemetrytest": {},

	"webhook/webhooktest": {},

	"internal/admin":           {"", "consumer", "internal/crowd", "internal/hooks", "internal/overview", "internal/trouble", "queue", "webhook", "pauses"},
	"internal/api":             {"", "consumer", "internal/crowd", "internal/trouble", "internal/when", "queue"},
	"internal/daemon/zuulconf": {},
	"internal/daemon/config": {
		"", "consumer", "internal/plan", "gerrit", "kinesis", "postgres", "queue", "sqlite", "webhook", "zookeeper", "internal/hooks", "internal/daemon/zuulconf", "internal/near", "internal/when", "pauses",
	},
	"internal/daemon": {
		"", "consumer", "internal/plan", "internal/trouble", "internal/daemon/config", "gerrit", "kinesis", "pauses", "queue", "sink",
		"internal/admin", "internal/api", "internal/hooks", "internal/overview", "internal/telemetry", "internal/when", "webhook",
	},
	"internal/bench": {
		"", "consumer", "internal/daemon", "internal/daemon/config", "gerrit", "gerrittest", "kinesis", "kinesistest", "postgres", "sqlite",
	},
	"cmd/gerritstream": {
		"", "consumer", "internal/plan", "internal/trouble", "internal/daemon", "internal/daemon/config", "internal/history", "gerrit", "gerrittest",
		"kinesistest", "postgres", "sqlite", "sink", "queue", "webhook", "internal/storekit", "internal/api", "internal/bench", "internal/hooks", "internal/iam", "internal/near", "internal/overview", "internal/replay", "internal/telemetry", "internal/when", "pauses",
	},
	"test/mutants": {},
	"test/summary": {},
}

// confined says where alone a dependency may be imported outside tests, by
// prefix of its path.
var confined = map[string][]string{
	"github.com/aws/":              {"kinesis"},
	"database/sql":                 {"sqlite", "internal/bench"}, // as a bare client
	"modernc.org/sqlite":           {"sqlite"},
	"github.com/go-zookeeper/":     {"zookeeper", "internal/bench"}, // likewise
	"github.com/jackc/pgx/":        {"postgres", "internal/bench"},  // likewise
	"github.com/spf13/":            {"cmd/gerritstream"},
	"github.com/prometheus/":       {"internal/admin"},
	"go.opentelemetry.io/":         {"internal/telemetry", "internal/telemetry/telemetrytest"},
	"github.com/coreos/go-systemd": {"internal/daemon", "cmd/gerritstream"},
}

// listed is a package as `go list -json` describes it.
type listed struct {
	ImportPath string
	Imports    []string
}

func TestDependencyDirection(t *testing.T) {
	for _, pkg := range listPackages(t) {
		t.Run(nameOf(pkg.ImportPath), func(t *testing.T) {
			for _, err := range violations(pkg) {
				t.Error(err)
			}
		})
	}
}

// TestDependencyDirectionIsEnforced shows that the rules refuse what they are
// there to refuse.
func TestDependencyDirectionIsEnforced(t *testing.T) {
	for _, wrong := range []listed{
		{"", []string{module + "/kinesis"}},
		{"", []string{"github.com/spf13/cobra"}},
		{"gerrit", []string{module}},
		{"kinesis", []string{module + "/sqlite"}},
		{"kinesistest", []string{module}},
		{"sqlite", []string{module + "/internal/daemon"}},
		{"internal/daemon", []string{"github.com/aws/aws-sdk-go-v2/aws"}},
		{"internal/daemon", []string{module + "/cmd/gerritstream"}},
		{"cmd/gerritstream", []string{"database/sql"}},
		{"internal/daemon", []string{"github.com/jackc/pgx/v5"}},
		{"util", nil},
	} {
		wrong.ImportPath = path.Join(module, wrong.ImportPath)
		if len(violations(wrong)) == 0 {
			t.Errorf("%s may import %s", wrong.ImportPath, wrong.Imports)
		}
	}
}

// TestToolsAreAModuleOfTheirOwn keeps what makes a release out of the product:
// the one needs none of the other's modules.
func TestToolsAreAModuleOfTheirOwn(t *testing.T) {
	var modules []string
	for _, file := range files(t, ".") {
		if path.Base(file) == "go.mod" {
			modules = append(modules, file)
		}
	}
	if !slices.Equal(modules, []string{"go.mod", "release/go.mod"}) {
		t.Fatalf("the modules are %q", modules)
	}
	product, tools := required(t, "go.mod"), required(t, "release/go.mod")
	for _, tool := range tools.direct {
		if slices.Contains(product.all, tool) {
			t.Errorf("go.mod requires %s, a tool of release/go.mod", tool)
		}
	}
	if slices.Contains(tools.all, module) || len(tools.direct) == 0 {
		t.Errorf("release/go.mod requires %q", tools.all)
	}
}

// required returns the modules that a go.mod requires.
func required(t *testing.T, file string) (modules struct{ direct, all []string }) {
	t.Helper()
	for line := range strings.Lines(readFile(t, file)) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "\t") || len(fields) < 2 {
			continue
		}
		modules.all = append(modules.all, fields[0])
		if !strings.Contains(line, "// indirect") {
			modules.direct = append(modules.direct, fields[0])
		}
	}
	return modules
}

// violations returns what a package imports and may not.
func violations(pkg listed) []error {
	name := nameOf(pkg.ImportPath)
	may, ok := house[name]
	if !ok {
		return []error{fmt.Errorf("%s has no place in the house: add it to the table, or move it", pkg.ImportPath)}
	}
	var errs []error
	for _, imported := range pkg.Imports {
		if err := checkImport(name, may, imported); err != nil {
			errs = append(errs, fmt.Errorf("%s imports %s: %w", pkg.ImportPath, imported, err))
		}
	}
	return errs
}

func checkImport(name string, may []string, imported string) error {
	if isOurs(imported) {
		if !slices.Contains(may, nameOf(imported)) {
			return fmt.Errorf("of the module's own it may import %q", may)
		}
		return nil
	}
	if first, _, _ := strings.Cut(imported, "/"); name == "" && strings.Contains(first, ".") {
		return errors.New("the root imports the standard library only")
	}
	for prefix, places := range confined {
		if strings.HasPrefix(imported, prefix) && !slices.Contains(places, name) {
			return fmt.Errorf("only %q may", places)
		}
	}
	return nil
}

func isOurs(imported string) bool {
	return imported == module || strings.HasPrefix(imported, module+"/")
}

// nameOf returns a package's path below the module: "" for the root.
func nameOf(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// listPackages returns every package of the module. One that holds only tests
// imports nothing here.
func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,GoFiles", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			listed
			GoFiles []string
		}
		err := dec.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if len(pkg.GoFiles) > 0 {
			packages = append(packages, pkg.listed)
		}
	}
}
