// Command toolbox is what a test cluster needs around Kubernetes and nobody packages: it makes and pushes images,
// and serves a registry with the referrers API and git repositories over HTTP.
//
//	toolbox image    -layout DIR -name NAME [-entrypoint PATH] [-user UID:GID] SOURCE=DESTINATION...
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
		"image": makeImage, "push": push, "bundle": bundle, "registry": serveRegistry, "git": serveGit,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: toolbox image|push|bundle|registry|git [flags] [arguments]")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		log.Fatalf("toolbox %s: %v", os.Args[1], err)
	}
}

func newFlags(command string) *flag.FlagSet {
	return flag.NewFlagSet("toolbox "+command, flag.ExitOnError)
}
