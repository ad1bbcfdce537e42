// Command release makes what a version of gerritstream is installed from, in
// one folder: an archive for each platform, packages for Debian and for RPM,
// an OCI image, the Helm chart, a list of what is in each binary (SBOM), and
// checksums. Two runs on one commit, with one version of Go, make the same
// bytes. `make release` runs it.
//
// It is a module of its own, so that its tools are no dependencies of the
// product. The versions of the tools are pinned in its go.mod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root := flag.String("root", "..", "`folder` of the repository")
	out := flag.String("out", filepath.Join("..", "dist"), "`folder` to write to, in place of what is there")
	only := flag.String("platform", "", "make nothing for other platforms than `OS/ARCH`, such as linux/amd64")
	flag.Parse()
	if err := run(ctx, *root, *out, *only); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

// platform is an operating system and an architecture, in Go's words.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

// platforms are those that binaries are made for. Packages and the image are
// made for Linux.
var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

// release is what all artefacts of a version share.
type release struct {
	root      string // of the repository
	out       string // where the artefacts go
	work      string // a folder that is removed in the end
	platforms []platform
	version   version
	time      time.Time // of everything: the commit's
}

// run makes all artefacts, or those of one platform unless only is "". The
// folder has all of them or does not exist.
func run(ctx context.Context, root, out, only string) (err error) {
	r := release{platforms: platforms}
	if only != "" {
		r.platforms = slices.DeleteFunc(slices.Clone(platforms), func(p platform) bool { return p.String() != only })
	}
	if len(r.platforms) == 0 {
		return fmt.Errorf("platform %q is none of %v", only, platforms)
	}
	if r.root, err = filepath.Abs(root); err != nil {
		return err
	}
	if r.version, r.time, err = describe(ctx, r.root); err != nil {
		return err
	}
	if r.out, err = filepath.Abs(out); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "gerritstream-release-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.work)) }()
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil { //nolint:gosec // everybody may read it
		return err
	}
	if err := r.make(ctx); err != nil {
		return errors.Join(err, os.RemoveAll(r.out))
	}
	return nil
}

// make makes the artefacts in the order in which they need each other.
func (r *release) make(ctx context.Context) error {
	for _, p := range r.platforms {
		if err := r.build(ctx, p); err != nil {
			return fmt.Errorf("build for %v: %w", p, err)
		}
	}
	steps := []struct {
		what string
		make func() error
	}{
		{"write the manual and the completions", func() error { return r.document(ctx) }},
		{"pack the archives", r.archives},
		{"make the packages", r.packages},
		{"make the image", r.image},
		{"pack the chart", r.chart},
		{"list what is in the binaries", r.listModules},
		{"write the checksums", r.checksums},
	}
	for _, step := range steps {
		if err := step.make(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// artefact returns the path of an artefact: gerritstream_1.2.3_linux_amd64 and
// so on.
func (r *release) artefact(rest string) string {
	return filepath.Join(r.out, "gerritstream_"+r.version.semantic+rest)
}
