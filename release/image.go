package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// imageUser is the user and the group of the image's process, and owns the one
// folder that is written to.
const imageUser = 65532

// stateFolder is where a volume belongs if the store is a SQLite file.
const stateFolder = "/var/lib/gerritstream"

// image writes an image for the architectures of Linux as an OCI archive.
func (r *release) image() error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range r.platforms {
		if p.os != "linux" {
			continue
		}
		image, err := r.imageFor(p)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: p.os, Architecture: p.arch},
		}})
	}
	folder := filepath.Join(r.work, "image")
	outer, err := layout.Write(folder, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err != nil {
		return err
	}
	err = outer.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": "gerritstream:" + r.version.tag(),
	}))
	if err != nil {
		return err
	}
	var entries []entry
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		e, err := fileEntry(filepath.ToSlash(name), 0o644, path)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return err
	}
	return create(r.artefact("_image.tar"), func(w io.Writer) error { return writeTar(w, r.time, entries) })
}

// imageFor makes the image of an architecture: one layer, and how to run it.
func (r *release) imageFor(p platform) (v1.Image, error) {
	entries, err := r.imageFiles(p)
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	if err := writeTar(&files, r.time, entries); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(9), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{
		Created: v1.Time{Time: r.time}, CreatedBy: "gerritstream/release",
	}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = p.os, p.arch, v1.Time{Time: r.time}
	config.Config = v1.Config{
		User:       "65532:65532",
		Entrypoint: []string{"/usr/bin/gerritstream"},
		Cmd:        []string{"run"},
		WorkingDir: stateFolder,
		Env:        []string{"PATH=/usr/bin", "HOME=" + stateFolder, "STATE_DIRECTORY=" + stateFolder},
		StopSignal: "SIGTERM",
		Labels: map[string]string{
			"org.opencontainers.image.title":    "gerritstream",
			"org.opencontainers.image.version":  r.version.semantic,
			"org.opencontainers.image.source":   homepage,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, config)
}

// imageFiles are the files of the image.
func (r *release) imageFiles(p platform) ([]entry, error) {
	binary, err := fileEntry("usr/bin/gerritstream", 0o755, r.binary(p))
	if err != nil {
		return nil, err
	}
	licence, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	users := "root:x:0:0:root:/root:/sbin/nologin\n" +
		"gerritstream:x:65532:65532:gerritstream:" + stateFolder + ":/sbin/nologin\n"
	return []entry{
		binary,
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: authorities()},
		{name: "etc/passwd", mode: 0o644, data: []byte(users)},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\ngerritstream:x:65532:\n")},
		{name: "etc/gerritstream", mode: fs.ModeDir | 0o755},
		// What a runtime mounts there needs a folder.
		{name: "dev", mode: fs.ModeDir | 0o755},
		{name: "proc", mode: fs.ModeDir | 0o755},
		{name: "sys", mode: fs.ModeDir | 0o755},
		{name: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{name: stateFolder[1:], mode: fs.ModeDir | 0o700, owner: imageUser},
		{name: "usr/share/doc/gerritstream/LICENSE", mode: 0o644, data: licence},
	}, nil
}

// authorities returns the certificates of Mozilla's root programme, without
// those that it trusts only within limits, which a file cannot express.
func authorities() []byte {
	var file bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // to memory
		}
	}
	return file.Bytes()
}
