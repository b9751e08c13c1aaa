package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// bundle pushes a Tekton bundle: an image with one layer per Task or Pipeline, found by the layer's annotations.
func bundle(arguments []string) error {
	flags := newFlags("bundle")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	reference, err := name.ParseReference(flags.Arg(0))
	if err != nil {
		return err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, argument := range flags.Args()[1:] {
		kind, rest, _ := strings.Cut(argument, "/")
		entry, file, found := strings.Cut(rest, "=")
		if !found {
			return fmt.Errorf("not KIND/NAME=FILE: %q", argument)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		layer, err := oneFile(entry, content)
		if err != nil {
			return err
		}
		image, err = mutate.Append(image, mutate.Addendum{
			Layer: static.NewLayer(layer, types.OCIUncompressedLayer),
			Annotations: map[string]string{
				"dev.tekton.image.apiVersion": "v1",
				"dev.tekton.image.kind":       kind,
				"dev.tekton.image.name":       entry,
			},
		})
		if err != nil {
			return err
		}
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

func oneFile(entry string, content []byte) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: entry, Mode: 0o644, Size: int64(len(content))}
	if err := writer.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := writer.Write(content); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
