package main

import (
	"archive/tar"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// openImage reads the archive, and returns the image of an architecture.
func openImage(t *testing.T, arch string) v1.Image {
	t.Helper()
	folder := t.TempDir()
	f, err := os.Open(find(t, "_image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, data := range untar(t, f) {
		path := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	outer, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].MediaType != types.OCIImageIndex {
		t.Fatalf("the archive has %+v (%v), want one index", manifest, err)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	platforms, err := index.IndexManifest()
	if err != nil || len(platforms.Manifests) != 2 {
		t.Fatalf("the index has %+v (%v), want two images", platforms, err)
	}
	for _, m := range platforms.Manifests {
		if match.Platforms(v1.Platform{OS: "linux", Architecture: arch})(m) {
			image, err := index.Image(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return image
		}
	}
	t.Fatalf("there is no image for %s", arch)
	return nil
}

func TestImageSaysHowToRunIt(t *testing.T) {
	const limit = 20_000_000
	for _, arch := range []string{"amd64", "arm64"} {
		image := openImage(t, arch)
		if size := sizeOf(t, image); size >= limit {
			t.Errorf("%s: the image has %d bytes, want less than %d", arch, size, limit)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		c := config.Config
		if config.Architecture != arch || config.OS != "linux" || c.User != "65532:65532" ||
			!slices.Equal(c.Entrypoint, []string{"/usr/bin/gerritstream"}) || !slices.Equal(c.Cmd, []string{"run"}) {
			t.Errorf("%s: %+v", arch, config)
		}
	}
}

// sizeOf returns what is loaded of an image: its compressed layers.
func sizeOf(t *testing.T, image v1.Image) (size int64) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) == 0 {
		t.Fatalf("%d layers: %v", len(layers), err)
	}
	for _, layer := range layers {
		n, err := layer.Size()
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	return size
}

// TestImageIsReadByOthers has skopeo, which shares no code with the tool that
// made it, read the image as it would to copy it to a registry.
func TestImageIsReadByOthers(t *testing.T) {
	skopeo := require(t, "skopeo", "skopeo")
	target := "dir:" + t.TempDir()
	output(t, skopeo, "--insecure-policy", "copy", "--quiet", "--all", "oci-archive:"+find(t, "_image.tar"), target)
	if out := output(t, skopeo, "inspect", "--raw", target); strings.Count(out, `"architecture"`) != 2 {
		t.Errorf("copied was %s", out)
	}
}

// runImage runs a command as a runtime would: sh -c runImage sh ROOT VOLUME
// COMMAND..., in a mount namespace of its own. The root is read-only, the
// volume is where the queue belongs, and the user is the image's.
const runImage = `set -e
root=$1 volume=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$volume" "$root/var/lib/gerritstream"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
if touch "$root/written" 2>/dev/null; then echo "the root is not read-only" >&2; exit 1; fi
exec chroot --userspec=65532:65532 --groups=65532 "$root" "$@"
`

// container is an unpacked image with its volume.
type container struct {
	config       v1.Config
	root, volume string
}

// command returns the image's program as a command. It has the image's
// variables, and those.
func (c container) command(args, variables []string) *exec.Cmd {
	full := append([]string{"--mount", "sh", "-c", runImage, "sh", c.root, c.volume}, c.config.Entrypoint...)
	cmd := exec.CommandContext(context.Background(), "unshare", append(full, args...)...)
	cmd.Env = append(slices.Clone(c.config.Env), variables...)
	// The shell, mount and chroot are found with the path of this machine;
	// the program gets it, too, and starts nothing.
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
	return cmd
}

// newContainer unpacks the image of this architecture. The volume is as
// a kubelet leaves it for fsGroup: the group's, and not the user's.
func newContainer(t *testing.T) container {
	t.Helper()
	image := openImage(t, runtime.GOARCH)
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := container{config: config.Config, root: t.TempDir(), volume: t.TempDir()}
	extract(t, image, c.root)
	if err := errors.Join(os.Chown(c.volume, 0, imageUser), os.Chmod(c.volume, 0o775|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	return c
}

// extract writes the image's files, with their owners and modes.
func extract(t *testing.T, image v1.Image, root string) {
	t.Helper()
	contents := mutate.Extract(image)
	defer contents.Close()
	for archive := tar.NewReader(contents); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var data []byte
			if data, err = io.ReadAll(archive); err == nil {
				err = os.WriteFile(path, data, 0o600)
			}
		}
		err = errors.Join(err, os.Chown(path, header.Uid, header.Gid), os.Chmod(path, header.FileInfo().Mode()))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestImageRunsReadOnly runs the image's files as its user, with a read-only
// root, no capability, and a volume for the queue.
func TestImageRunsReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to change the root needs root")
	}
	server := emulate(t, hostProgram(t))
	server.put(t, `{"type":"comment-added","change":{"project":"demo","branch":"main","number":4711}}`)
	c := newContainer(t)
	port := freePort(t)
	variables := []string{
		"AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=us-east-1",
		"GERRITSTREAM_AWS_ENDPOINT=" + server.endpoint, "GERRITSTREAM_STREAM=gerrit", "GERRITSTREAM_START_AT=trim-horizon",
		"GERRITSTREAM_ADMIN=:" + port, // as the chart sets it
	}
	cmd := c.command(c.config.Cmd, variables)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("log:\n%s", log.String())
		}
	})
	eventually(t, "the event is queued", func() bool {
		return strings.Contains(get(t, port, "/metrics"), "\ngerritstream_queue_depth 1\n")
	})
	eventually(t, "the process is ready", func() bool { return get(t, port, "/readyz") != "" })
	status := string(readFile(t, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)))
	for _, want := range []string{
		"\nUid:\t65532\t65532\t65532\t65532\n", "\nGid:\t65532\t", "\nCapEff:\t0000000000000000\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("the process is not %q:\n%s", want, status)
		}
	}
	if out, err := c.command([]string{"status"}, variables).CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "1 event\n") {
		t.Errorf("status: %v\n%s", err, out)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if stopped = true; err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("it does not end")
	}
	if info, err := os.Stat(filepath.Join(c.volume, "gerrit.db")); err != nil || info.Size() == 0 {
		t.Errorf("the queue is not on the volume: %v", err)
	}
}

// TestImageTrustsAuthorities reads the certificates of the image as Go does.
func TestImageTrustsAuthorities(t *testing.T) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities()) {
		t.Fatal("there is no certificate")
	}
	names := 0
	for range strings.SplitSeq(string(authorities()), "-----END CERTIFICATE-----\n") {
		names++
	}
	if names < 100 {
		t.Errorf("there are %d certificates", names)
	}
	contents := mutate.Extract(openImage(t, "amd64"))
	defer contents.Close()
	for archive := tar.NewReader(contents); ; {
		header, err := archive.Next()
		if err != nil {
			t.Fatalf("the image has no certificates: %v", err)
		}
		if header.Name == "etc/ssl/certs/ca-certificates.crt" {
			return
		}
	}
}
