package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers the packager
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // registers the packager
)

const homepage = "https://github.com/gerritstream/gerritstream"

// packages makes a .deb and an .rpm for each architecture of Linux.
func (r *release) packages() error {
	manual, err := r.zippedManual()
	if err != nil {
		return err
	}
	for _, p := range r.platforms {
		if p.os != "linux" {
			continue
		}
		for _, format := range []string{"deb", "rpm"} {
			packager, err := nfpm.Get(format)
			if err != nil {
				return err
			}
			info := r.packageInfo(p, format)
			info.Contents = append(info.Contents, manual...)
			if err := nfpm.PrepareForPackager(info, format); err != nil {
				return err
			}
			path := filepath.Join(r.out, packager.ConventionalFileName(info))
			if err := create(path, func(w io.Writer) error { return packager.Package(info, w) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// packageInfo describes the package of a platform. What its scripts do is told
// in them.
func (r *release) packageInfo(p platform, format string) *nfpm.Info {
	deploy := func(parts ...string) string {
		return filepath.Join(append([]string{r.root, "deploy"}, parts...)...)
	}
	contents := files.Contents{
		r.packed(r.binary(p), "/usr/bin/gerritstream", 0o755),
		r.packed(deploy("systemd", "sysusers.conf"), "/usr/lib/sysusers.d/gerritstream.conf", 0o644),
		r.packed(filepath.Join(r.root, "docs", "schema.json"), "/usr/share/gerritstream/schema.json", 0o644),
		r.packed(deploy("prometheus", "alerts.yml"), "/usr/share/gerritstream/prometheus/alerts.yml", 0o644),
		r.packed(deploy("grafana", "gerritstream.json"), "/usr/share/gerritstream/grafana/gerritstream.json", 0o644),
	}
	for _, unit := range []string{"gerritstream@.service", "gerritstream-zuul@.service"} {
		contents = append(contents, r.packed(deploy("systemd", unit), "/usr/lib/systemd/system/"+unit, 0o644))
	}
	config := r.packed(deploy("gerrit.yaml"), "/etc/gerritstream/gerrit.yaml", 0o644)
	config.Type = files.TypeConfigNoReplace
	licence := r.packed(filepath.Join(r.root, "LICENSE"), "/usr/share/doc/gerritstream/copyright", 0o644)
	if format == "rpm" {
		licence.Destination, licence.Type = "/usr/share/licenses/gerritstream/LICENSE", files.TypeRPMLicense
	}
	contents = append(contents, config, licence)
	for _, shell := range shells {
		file := shell.file
		if format == "rpm" && shell.name == "zsh" {
			file = "/usr/share/zsh/site-functions/_gerritstream"
		}
		contents = append(contents, r.packed(r.completion(shell.name), file, 0o644))
	}
	info := &nfpm.Info{
		Name: "gerritstream", Arch: p.arch, Platform: p.os, Version: r.version.semantic, Release: "1", Section: "net",
		Priority: "optional", Maintainer: "gerritstream <" + homepage + ">", Homepage: homepage, License: "Apache-2.0",
		Description: "Queue Gerrit's events from an AWS Kinesis stream, each of them once\n" +
			"Reads a stream into Zuul's ZooKeeper or a SQLite file. Any number of\n" +
			"processes share the shards and take over from one another.",
		MTime: r.time, DisableGlobbing: true,
	}
	info.Contents, info.Umask = contents, 0o022
	info.Recommends = []string{"ca-certificates", "systemd"}
	info.Scripts = nfpm.Scripts{
		PostInstall: deploy("package", "postinstall.sh"),
		PreRemove:   deploy("package", "preremove.sh"),
		PostRemove:  deploy("package", "postremove.sh"),
	}
	info.RPM.BuildHost, info.RPM.Group = "localhost", "System Environment/Daemons"
	if format == "rpm" {
		info.RPM.Summary, info.Description, _ = strings.Cut(info.Description, "\n")
	}
	return nfpm.WithDefaults(info)
}

// packed is a file of a package.
func (r *release) packed(source, destination string, mode fs.FileMode) *files.Content {
	return &files.Content{
		Source: source, Destination: destination, Type: files.TypeFile,
		FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.time},
	}
}

// zippedManual compresses the manual pages, as both distributions expect them.
func (r *release) zippedManual() (files.Contents, error) {
	pages, err := os.ReadDir(r.manual())
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(r.work, "man1")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	var contents files.Contents
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(r.manual(), page.Name()))
		if err != nil {
			return nil, err
		}
		var zipped bytes.Buffer
		z, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression) // a level that exists
		if _, err := z.Write(text); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		path := filepath.Join(folder, page.Name()+".gz")
		if err := os.WriteFile(path, zipped.Bytes(), 0o600); err != nil {
			return nil, err
		}
		contents = append(contents, r.packed(path, "/usr/share/man/man1/"+page.Name()+".gz", 0o644))
	}
	return contents, nil
}
