// Command toolbox is what a test cluster needs around Kubernetes and nobody packages: it pushes images
// and bundles, and serves a registry with the referrers API and git repositories over HTTP.
//
//	toolbox push     -layout DIR -name NAME REFERENCE
//	toolbox bundle   REFERENCE KIND/NAME=FILE...
//	toolbox registry [-listen ADDRESS:PORT] [-blobs DIR]
//	toolbox git      [-listen ADDRESS:PORT] -root DIR
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	commands := map[string]func([]string) error{
		"push": push, "bundle": bundle, "registry": serveRegistry, "git": serveGit,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: toolbox push|bundle|registry|git [flags] [arguments]")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		log.Fatalf("toolbox %s: %v", os.Args[1], err)
	}
}

func newFlags(command string) *flag.FlagSet {
	return flag.NewFlagSet("toolbox "+command, flag.ExitOnError)
}
