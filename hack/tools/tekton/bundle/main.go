// Command bundle reads an entry of a Tekton bundle with the code of Tekton's own bundles resolver.
//
//	bundle REFERENCE KIND NAME
//
// It prints the entry's bytes, and on standard error one line of JSON: the source that the resolver records.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/tektoncd/pipeline/pkg/resolution/resolver/bundle"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: bundle REFERENCE KIND NAME")
		os.Exit(2)
	}
	request := bundle.RequestOptions{Bundle: os.Args[1], Kind: os.Args[2], EntryName: os.Args[3]}
	entry, err := bundle.GetEntry(context.Background(), authn.NewMultiKeychain(), request)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if _, err := os.Stdout.Write(entry.Data()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	source := entry.RefSource()
	recorded := map[string]any{"uri": source.URI, "digest": source.Digest, "entryPoint": source.EntryPoint}
	if err := json.NewEncoder(os.Stderr).Encode(recorded); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
