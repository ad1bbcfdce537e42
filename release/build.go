package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// binary returns the path of a platform's binary.
func (r *release) binary(p platform) string {
	return filepath.Join(r.work, p.os+"_"+p.arch, "gerritstream")
}

// build makes a static binary. What decides its bytes is given here, and
// nothing is taken from the machine but the version of Go.
func (r *release) build(ctx context.Context, p platform) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+r.version.described, "-o", r.binary(p), "./cmd/gerritstream")
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOFLAGS=", "GOWORK=off",
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off")
	return silently(cmd)
}

// silently runs a command, and tells what it printed only if it fails.
func silently(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.Args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// shells are those with completions, with the files that packages install.
var shells = []struct{ name, file string }{
	{"bash", "/usr/share/bash-completion/completions/gerritstream"},
	{"fish", "/usr/share/fish/vendor_completions.d/gerritstream.fish"},
	{"zsh", "/usr/share/zsh/vendor-completions/_gerritstream"},
}

func (r *release) manual() string                 { return filepath.Join(r.work, "man") }
func (r *release) completion(shell string) string { return filepath.Join(r.work, "completion", shell) }

// document has the program write its manual pages and completions.
func (r *release) document(ctx context.Context) error {
	host := platform{runtime.GOOS, runtime.GOARCH}
	if _, err := os.Stat(r.binary(host)); err != nil {
		if err := r.build(ctx, host); err != nil {
			return err
		}
	}
	for _, folder := range []string{r.manual(), r.completion("")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	if err := silently(exec.CommandContext(ctx, r.binary(host), "man", r.manual())); err != nil {
		return err
	}
	for _, shell := range shells {
		script, err := exec.CommandContext(ctx, r.binary(host), "completion", shell.name).Output()
		if err == nil {
			err = os.WriteFile(r.completion(shell.name), script, 0o600)
		}
		if err != nil {
			return fmt.Errorf("completion of %s: %w", shell.name, err)
		}
	}
	return nil
}
