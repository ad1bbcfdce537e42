package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// scratch is where the tests make their releases.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if scratch, err = os.MkdirTemp("", "gerritstream-release-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// made is the release of this work tree, which the tests share.
var made = sync.OnceValues(func() (string, error) {
	out := filepath.Join(scratch, "dist")
	return out, run(context.Background(), "..", out, "")
})

// dist returns the folder of the artefacts.
func dist(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("to make a release takes a minute")
	}
	out, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// find returns the one artefact whose name ends like this.
func find(t *testing.T, suffix string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dist(t), "*"+suffix))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d artefacts end in %s (%v)", len(found), suffix, err)
	}
	return found[0]
}

// require finds a program. Without it the test is skipped, but by root, who
// can install it, and with CI=true.
func require(t *testing.T, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	report := t.Skipf
	if os.Getenv("CI") == "true" || os.Geteuid() == 0 {
		report = t.Fatalf
	}
	report("%v; install with: apt-get install -y --no-install-recommends %s", err, debian)
	return ""
}

// output runs a program and returns what it printed, without the last newline.
func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
	return strings.TrimRight(string(out), "\n")
}

// TestTwoBuildsAreTheSame makes the release again, from a copy of the work tree
// in another folder.
func TestTwoBuildsAreTheSame(t *testing.T) {
	first := dist(t)
	copied := filepath.Join(scratch, "another", "folder")
	output(t, "git", "clone", "--quiet", "--no-checkout", "..", copied)
	output(t, "git", "-C", copied, "reset", "--quiet", "--hard", output(t, "git", "-C", "..", "rev-parse", "HEAD"))
	copyTree(t, "..", copied)
	second := filepath.Join(scratch, "again")
	if err := run(t.Context(), copied, second, ""); err != nil {
		t.Fatal(err)
	}
	sums := func(folder string) string { return string(readFile(t, filepath.Join(folder, "SHA256SUMS"))) }
	if sums(first) != sums(second) {
		t.Errorf("the first release is\n%s\nand the second\n%s", sums(first), sums(second))
	}
	if lines := strings.Count(sums(first), "\n"); lines != 14 {
		t.Errorf("there are %d artefacts, want 14: 4 archives and lists of modules, 4 packages, image, chart", lines)
	}
}

// copyTree copies what git does not ignore.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	list := output(t, "git", "-C", from, "ls-files", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(list, "\n") {
		info, err := os.Stat(filepath.Join(from, name))
		if errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(filepath.Join(to, name)) // deleted, and not committed
			continue
		}
		target := filepath.Join(to, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(target), 0o755)
		}
		if err == nil {
			err = os.WriteFile(target, readFile(t, filepath.Join(from, name)), info.Mode().Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestChecksumsAreThoseOfTheFiles(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	cmd.Dir = dist(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	files, err := os.ReadDir(cmd.Dir)
	if err != nil {
		t.Fatal(err)
	}
	sums := string(readFile(t, filepath.Join(cmd.Dir, "SHA256SUMS")))
	for _, f := range files {
		if f.Name() != "SHA256SUMS" && !strings.Contains(sums, "  "+f.Name()+"\n") {
			t.Errorf("%s has no checksum", f.Name())
		}
	}
}

// unpack returns the regular files of a compressed archive, by name.
func unpack(t *testing.T, path string) map[string][]byte {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(readFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	return untar(t, zipped)
}

func untar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if found[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// hostProgram unpacks the program of this platform's archive.
func hostProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gerritstream")
	archive := find(t, "_"+runtime.GOOS+"_"+runtime.GOARCH+".tar.gz")
	for name, data := range unpack(t, archive) {
		if filepath.Base(name) == "gerritstream" && !strings.Contains(name, "completions") {
			if err := os.WriteFile(path, data, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return path
}

// TestBinariesAreStatic looks into the binary of each archive.
func TestBinariesAreStatic(t *testing.T) {
	for _, p := range platforms {
		archive := find(t, "_"+p.os+"_"+p.arch+".tar.gz")
		top := strings.TrimSuffix(filepath.Base(archive), ".tar.gz")
		files := unpack(t, archive)
		for _, name := range []string{"LICENSE", "man/gerritstream-run.1", "completions/gerritstream.bash"} {
			if len(files[top+"/"+name]) == 0 {
				t.Errorf("%s has no %s", archive, name)
			}
		}
		if _, ok := files[top+"/systemd/gerritstream@.service"]; ok != (p.os == "linux") {
			t.Errorf("%s has units: %v", archive, ok)
		}
		info, err := buildinfo.Read(bytes.NewReader(files[top+"/gerritstream"]))
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if settings["CGO_ENABLED"] != "0" || settings["GOOS"] != p.os || settings["GOARCH"] != p.arch {
			t.Errorf("%s was built with %v", archive, settings)
		}
		if p.os == "linux" {
			checkStatic(t, files[top+"/gerritstream"])
		}
	}
	described := output(t, "git", "-C", "..", "describe", "--tags", "--always", "--dirty")
	if line := output(t, hostProgram(t), "version"); !strings.HasPrefix(line, "gerritstream "+described+" go1.") {
		t.Errorf("the version is %q, want %s", line, described)
	}
}

func checkStatic(t *testing.T, binary []byte) {
	t.Helper()
	program, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Error("the binary needs a dynamic linker")
	}
	if libraries, _ := program.ImportedLibraries(); len(libraries) > 0 {
		t.Errorf("the binary needs %q", libraries)
	}
}

// TestModulesAreListed compares the lists of modules with what `go version -m`
// reads from the program.
func TestModulesAreListed(t *testing.T) {
	f, err := os.Open(find(t, "_"+runtime.GOOS+"_"+runtime.GOARCH+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(f, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	var listed, linked []string
	for _, c := range *bom.Components {
		listed = append(listed, c.Name+" "+c.Version)
	}
	info, err := buildinfo.ReadFile(hostProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	linked = append(linked, "std "+info.GoVersion)
	for _, m := range info.Deps {
		linked = append(linked, m.Path+" "+m.Version)
	}
	slices.Sort(listed)
	slices.Sort(linked)
	if !slices.Equal(listed, linked) || len(listed) < 20 {
		t.Errorf("listed are\n%s\nlinked are\n%s", strings.Join(listed, "\n"), strings.Join(linked, "\n"))
	}
	if main := bom.Metadata.Component; main.Name != info.Main.Path || !strings.HasPrefix(main.Version, "v") {
		t.Errorf("the list is of %s %s", main.Name, main.Version)
	}
}

// TestManualIsClean has another program read the manual pages.
func TestManualIsClean(t *testing.T) {
	mandoc := require(t, "mandoc", "mandoc")
	pages := 0
	for name, page := range unpack(t, find(t, "_linux_amd64.tar.gz")) {
		if !strings.HasSuffix(name, ".1") {
			continue
		}
		pages++
		cmd := exec.CommandContext(t.Context(), mandoc, "-T", "lint", "-W", "warning")
		cmd.Stdin = bytes.NewReader(page)
		out, _ := cmd.CombinedOutput()
		if remarks := unexpected(string(out)); remarks != "" {
			t.Errorf("%s:\n%s", name, remarks)
		}
	}
	if pages < 20 {
		t.Errorf("there are %d pages", pages)
	}
}

// unexpected returns what mandoc complains about, but for the missing date:
// a page has none, so that two builds have the same one.
func unexpected(remarks string) string {
	var left strings.Builder
	for line := range strings.Lines(remarks) {
		if !strings.Contains(line, "missing date") {
			left.WriteString(line)
		}
	}
	return left.String()
}

func TestChartHasTheVersion(t *testing.T) {
	path := find(t, ".tgz")
	files := unpack(t, path)
	v, _, err := describe(t.Context(), "..")
	if err != nil {
		t.Fatal(err)
	}
	manifest := string(files["gerritstream/Chart.yaml"])
	for _, line := range []string{"version: " + v.semantic, `appVersion: "` + v.tag() + `"`} {
		if !regexp.MustCompile("(?m)^" + regexp.QuoteMeta(line) + "$").MatchString(manifest) {
			t.Errorf("Chart.yaml lacks %q:\n%s", line, manifest)
		}
	}
	const template = "gerritstream/templates/_helpers.tpl"
	if filepath.Base(path) != "gerritstream-"+v.semantic+".tgz" || len(files[template]) == 0 {
		t.Errorf("%s has %d files", path, len(files))
	}
}

// TestRPMIsReadByRPM has rpm itself check the package, and install it into
// a root of its own.
func TestRPMIsReadByRPM(t *testing.T) {
	rpm := require(t, "rpm", "rpm")
	path := find(t, ".x86_64.rpm")
	output(t, rpm, "-K", "--nosignature", path)
	scripts := output(t, rpm, "-qp", "--scripts", path)
	for _, want := range []string{"systemd-sysusers gerritstream.conf", "try-restart", "systemctl stop"} {
		if !strings.Contains(scripts, want) {
			t.Errorf("the scripts lack %q:\n%s", want, scripts)
		}
	}
	if config := output(t, rpm, "-qpc", path); config != "/etc/gerritstream/gerrit.yaml" {
		t.Errorf("settings of the package: %q", config)
	}
	if os.Geteuid() != 0 {
		t.Skip("to install needs root")
	}
	root := t.TempDir()
	output(t, rpm, "--root", root, "--initdb")
	output(t, rpm, "--root", root, "--install", "--nodeps", "--noscripts", "--ignoreos", "--ignorearch", path)
	for _, name := range []string{
		"usr/bin/gerritstream", "usr/share/gerritstream/schema.json",
		"usr/share/gerritstream/prometheus/alerts.yml", "usr/share/gerritstream/grafana/gerritstream.json",
		"usr/lib/systemd/system/gerritstream@.service",
		"usr/share/licenses/gerritstream/LICENSE",
		"usr/share/man/man1/gerritstream-run.1.gz", "usr/share/zsh/site-functions/_gerritstream",
	} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	if runtime.GOARCH == "amd64" {
		output(t, filepath.Join(root, "usr/bin/gerritstream"), "version")
	}
	output(t, rpm, "--root", root, "--verify", "gerritstream")
}
