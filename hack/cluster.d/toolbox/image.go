package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nameAnnotation is where `ctr images import` looks for an image's name in a layout.
const nameAnnotation = "io.containerd.image.name"

// makeImage adds an image of one uncompressed layer to an OCI layout and prints its name and digest.
// The same files give the same digest: times are zero, owners root, entries sorted.
func makeImage(arguments []string) error {
	flags := newFlags("image")
	folder := flags.String("layout", "", "OCI layout folder to add the image to")
	imageName := flags.String("name", "", "name of the image, with a tag")
	entrypoint := flags.String("entrypoint", "", "program to run, if any")
	user := flags.String("user", "", "user and group of the process")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	layer := &layerWriter{seen: map[string]bool{}}
	layer.tar = tar.NewWriter(&layer.bytes)
	for _, argument := range flags.Args() {
		source, destination, found := strings.Cut(argument, "=")
		if !found {
			return fmt.Errorf("not SOURCE=DESTINATION: %q", argument)
		}
		if err := layer.add(source, destination); err != nil {
			return err
		}
	}
	if err := layer.tar.Close(); err != nil {
		return err
	}

	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, static.NewLayer(layer.bytes.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		return err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.User = *user
	file.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/ko-app"}
	if *entrypoint != "" {
		file.Config.Entrypoint = []string{*entrypoint}
	}
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	path, err := openLayout(*folder)
	if err != nil {
		return err
	}
	if err := path.AppendImage(image, layout.WithAnnotations(map[string]string{nameAnnotation: *imageName})); err != nil {
		return err
	}
	fmt.Println(*imageName, digest)
	return nil
}

func openLayout(folder string) (layout.Path, error) {
	if _, err := os.Stat(filepath.Join(folder, "index.json")); errors.Is(err, fs.ErrNotExist) {
		return layout.Write(folder, empty.Index)
	}
	return layout.FromPath(folder)
}

type layerWriter struct {
	bytes bytes.Buffer
	tar   *tar.Writer
	seen  map[string]bool
}

// add writes a file, or a folder and everything in it, under destination.
func (w *layerWriter) add(source, destination string) error {
	return filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return w.entry(file, path.Join(destination, filepath.ToSlash(relative)), info)
	})
}

func (w *layerWriter) entry(file, destination string, info fs.FileInfo) error {
	target := strings.Trim(path.Clean("/"+destination), "/")
	if target == "" {
		return nil
	}
	if err := w.parents(path.Dir(target)); err != nil {
		return err
	}
	header := &tar.Header{Name: target, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case info.IsDir():
		return w.folder(target, int64(info.Mode().Perm()), info.Mode()&fs.ModeSticky != 0)
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := os.Readlink(file)
		if err != nil {
			return err
		}
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, link, 0o777
		return w.tar.WriteHeader(header)
	case info.Mode().IsRegular():
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		header.Typeflag, header.Mode, header.Size = tar.TypeReg, int64(info.Mode().Perm()), int64(len(content))
		if err := w.tar.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.tar.Write(content)
		return err
	}
	return fmt.Errorf("neither a file, a folder nor a link: %s", file)
}

func (w *layerWriter) parents(folder string) error {
	if folder == "." || w.seen[folder] {
		return nil
	}
	if err := w.parents(path.Dir(folder)); err != nil {
		return err
	}
	return w.folder(folder, 0o755, false)
}

func (w *layerWriter) folder(target string, mode int64, sticky bool) error {
	if w.seen[target] {
		return nil
	}
	w.seen[target] = true
	if sticky {
		mode |= 0o1000
	}
	return w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir, Name: target + "/", Mode: mode, ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
	})
}

// push copies an image from a layout to a registry (plain HTTP where the reference's host is a private address).
func push(arguments []string) error {
	flags := newFlags("push")
	folder := flags.String("layout", "", "OCI layout folder to read from")
	imageName := flags.String("name", "", "name of the image in the layout")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	reference, err := name.ParseReference(flags.Arg(0))
	if err != nil {
		return err
	}
	index, err := layout.ImageIndexFromPath(*folder)
	if err != nil {
		return err
	}
	image, err := find(index, *imageName)
	if err != nil {
		return err
	}
	if err := remote.Write(reference, image); err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Println(reference.Context().Digest(digest.String()))
	return nil
}

func find(index v1.ImageIndex, imageName string) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, descriptor := range manifest.Manifests {
		if descriptor.Annotations[nameAnnotation] == imageName {
			return index.Image(descriptor.Digest)
		}
	}
	return nil, fmt.Errorf("no image %q in the layout", imageName)
}
