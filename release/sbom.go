package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/bin"
	"github.com/rs/zerolog"
)

// listModules writes, for each binary, which version of which module is in it,
// as the binary itself says.
func (r *release) listModules() error {
	for _, p := range r.platforms {
		generator, err := bin.NewGenerator(r.binary(p), bin.WithIncludeStdlib(true), bin.WithLogger(zerolog.Nop()),
			bin.WithVersionOverride("v"+r.version.semantic))
		if err != nil {
			return err
		}
		bom, err := generator.Generate()
		if err != nil {
			return err
		}
		bom.Metadata.Timestamp = r.time.Format("2006-01-02T15:04:05Z")
		path := r.artefact("_" + p.os + "_" + p.arch + ".cdx.json")
		err = create(path, func(w io.Writer) error {
			return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checksums writes SHA256SUMS of all artefacts, as sha256sum reads it.
func (r *release) checksums() error {
	files, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, f := range files {
		sum, err := digest(filepath.Join(r.out, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", sum, f.Name())
	}
	return create(filepath.Join(r.out, "SHA256SUMS"), func(w io.Writer) error {
		_, err := io.WriteString(w, sums.String())
		return err
	})
}

// digest returns the SHA-256 of a file.
func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return hex.EncodeToString(hash.Sum(nil)), errors.Join(err, f.Close())
}
