// Command bundler packs PostgreSQL's programs, as npm installed them under
// node_modules, into the archive that a build with the tag embedpg puts into
// corp. Run it from the module's root; it does nothing when the archive is up
// to date, and it downloads nothing.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/genericcorp/corp/postgres/embedded/bundle"
)

func main() {
	goos := flag.String("goos", runtime.GOOS, "operating system to pack for")
	goarch := flag.String("goarch", runtime.GOARCH, "processor to pack for")
	out := flag.String("out", filepath.Join("postgres", "embedded", "bundle"), "folder for the archive")
	flag.Parse()
	if err := run(os.Stdout, *goos, *goarch, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bundler:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, goos, goarch, out string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	name := bundle.PackageName(goos, goarch)
	pkg := bundle.Find(dir, name)
	if pkg == "" {
		return fmt.Errorf("%s is not in node_modules; run: npm ci --ignore-scripts", name)
	}
	file := filepath.Join(out, bundle.FileName(goos, goarch))
	written, err := bundle.Build(file, pkg)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	state := "is up to date"
	if written {
		state = "written"
	}
	_, err = fmt.Fprintf(w, "%s %s (%.1f MB)\n", file, state, float64(info.Size())/1e6)
	return err
}
