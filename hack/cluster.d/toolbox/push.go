package main

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// nameAnnotation is where `ctr images import` looks for an image's name in a layout.
const nameAnnotation = "io.containerd.image.name"

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
