package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is a file or, with a mode that says so, a folder of an archive.
type entry struct {
	name  string
	mode  fs.FileMode
	owner int // user and group
	data  []byte
}

// fileEntry reads a file to be packed.
func fileEntry(name string, mode fs.FileMode, path string) (entry, error) {
	data, err := os.ReadFile(path)
	return entry{name: name, mode: mode, data: data}, err
}

// writeTar writes entries with the folders that they are in, in the order of
// their names.
func writeTar(w io.Writer, at time.Time, entries []entry) error {
	entries = withFolders(entries)
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	out := tar.NewWriter(w)
	for _, e := range entries {
		header := tar.Header{
			Name: e.name, Mode: int64(e.mode.Perm()), Uid: e.owner, Gid: e.owner, ModTime: at, Size: int64(len(e.data)),
			Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		}
		if e.mode&fs.ModeSticky != 0 {
			header.Mode |= 0o1000
		}
		if e.mode.IsDir() {
			header.Name, header.Typeflag = e.name+"/", tar.TypeDir
		}
		if err := out.WriteHeader(&header); err != nil {
			return err
		}
		if _, err := out.Write(e.data); err != nil {
			return err
		}
	}
	return out.Close()
}

// withFolders adds the folders that no entry makes.
func withFolders(entries []entry) []entry {
	made := map[string]bool{".": true}
	for _, e := range entries {
		made[e.name] = true
	}
	for _, e := range entries {
		for folder := path.Dir(e.name); !made[folder]; folder = path.Dir(folder) {
			entries = append(entries, entry{name: folder, mode: fs.ModeDir | 0o755})
			made[folder] = true
		}
	}
	return entries
}

// writeArchive writes a compressed archive.
func (r *release) writeArchive(path string, entries []entry) error {
	return create(path, func(w io.Writer) error {
		zipped, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		return errors.Join(writeTar(zipped, r.time, entries), zipped.Close())
	})
}

// create writes a file.
func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// archives packs the binary of each platform with its licence, its manual and
// its completions, and for Linux with the units of systemd.
func (r *release) archives() error {
	for _, p := range r.platforms {
		top := "gerritstream_" + r.version.semantic + "_" + p.os + "_" + p.arch
		sources := map[string]string{
			"LICENSE":   filepath.Join(r.root, "LICENSE"),
			"README.md": filepath.Join(r.root, "README.md"),
		}
		for _, shell := range shells {
			sources[path.Join("completions", path.Base(shell.file)+suffix(shell.name))] = r.completion(shell.name)
		}
		if err := addFolder(sources, "man", r.manual()); err != nil {
			return err
		}
		if p.os == "linux" {
			if err := addFolder(sources, "systemd", filepath.Join(r.root, "deploy", "systemd")); err != nil {
				return err
			}
		}
		binary, err := fileEntry(path.Join(top, "gerritstream"), 0o755, r.binary(p))
		if err != nil {
			return err
		}
		entries := []entry{binary}
		for name, source := range sources {
			e, err := fileEntry(path.Join(top, name), 0o644, source)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		if err := r.writeArchive(filepath.Join(r.out, top+".tar.gz"), entries); err != nil {
			return err
		}
	}
	return nil
}

// suffix tells the completions of an archive apart: bash names its file as the
// command.
func suffix(shell string) string {
	if shell == "bash" {
		return ".bash"
	}
	return ""
}

// addFolder adds the files right in a folder.
func addFolder(sources map[string]string, name, folder string) error {
	files, err := os.ReadDir(folder)
	for _, f := range files {
		sources[path.Join(name, f.Name())] = filepath.Join(folder, f.Name())
	}
	return err
}

// chart packs the Helm chart, with the version in it, as `helm package` does.
func (r *release) chart() error {
	root := filepath.Join(r.root, "deploy", "helm", "gerritstream")
	var entries []entry
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		e, err := fileEntry(path.Join("gerritstream", filepath.ToSlash(name)), 0o644, file)
		if name == "Chart.yaml" {
			e.data = []byte(r.stampChart(string(e.data)))
		}
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return err
	}
	return r.writeArchive(filepath.Join(r.out, "gerritstream-"+r.version.semantic+".tgz"), entries)
}

// stampChart sets the versions of the chart and of the program that it runs.
func (r *release) stampChart(manifest string) string {
	lines := strings.Split(manifest, "\n")
	for i, line := range lines {
		switch key, _, _ := strings.Cut(line, ":"); key {
		case "version":
			lines[i] = "version: " + r.version.semantic
		case "appVersion":
			lines[i] = `appVersion: "` + r.version.tag() + `"`
		}
	}
	return strings.Join(lines, "\n")
}
