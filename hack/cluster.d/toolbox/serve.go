package main

import (
	"log"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// serveRegistry runs a registry with the referrers API, which Debian's docker-registry lacks.
// Blobs are kept in a folder; manifests and tags in memory, as a test cluster wants them: gone when it stops.
func serveRegistry(arguments []string) error {
	flags := newFlags("registry")
	address := flags.String("listen", "127.0.0.1:5001", "address and port to listen on")
	blobs := flags.String("blobs", "", "folder for blobs (in memory when empty)")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	options := []registry.Option{registry.WithReferrersSupport(true), registry.Logger(log.Default())}
	if *blobs != "" {
		options = append(options, registry.WithBlobHandler(registry.NewDiskBlobHandler(*blobs)))
	}
	return serve(*address, registry.New(options...))
}

// serveGit serves every repository below a folder, for reading and writing, by git's own HTTP program.
func serveGit(arguments []string) error {
	flags := newFlags("git")
	address := flags.String("listen", "127.0.0.1:3000", "address and port to listen on")
	root := flags.String("root", "", "folder of bare repositories")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	programs, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return err
	}
	return serve(*address, &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(programs)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + *root,
			"GIT_HTTP_EXPORT_ALL=1",
			"REMOTE_USER=anyone", // git-http-backend takes pushes only from a named user
		},
		InheritEnv: []string{"PATH"},
	})
}

func serve(address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	log.Printf("serving http://%s", address)
	return server.ListenAndServe()
}
