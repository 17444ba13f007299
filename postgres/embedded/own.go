package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/genericcorp/corp/postgres/embedded/bundle"
)

// errNone says that a source has nothing to offer.
var errNone = errors.New("not there")

// storePrefix begins the names of the folders with unpacked programs.
const storePrefix = "pg-"

// bundled unpacks the bundle, unless that was done before, and probes it.
func (f finder) bundled(ctx context.Context) (binaries, error) {
	if len(f.archive) == 0 {
		return binaries{}, fmt.Errorf("bundle: %w", errNone)
	}
	key, err := bundle.Key(bytes.NewReader(f.archive))
	if err != nil {
		return binaries{}, err
	}
	dir, err := f.keep(key, func(dst string) error { return bundle.Unpack(f.archive, dst) })
	if err != nil {
		return binaries{}, fmt.Errorf("bundle: %w", err)
	}
	return f.probe(ctx, filepath.Join(dir, "bin"), SourceBundle)
}

// npm uses the package where npm put it. Where the account cannot get there, or
// the links that npm did not make cannot be made, it uses a copy.
func (f finder) npm(ctx context.Context) (binaries, error) {
	name := bundle.PackageName(runtime.GOOS, runtime.GOARCH)
	if f.major != 0 && f.major != Major {
		name = fmt.Sprintf("postgres-%d", f.major)
	}
	for _, dir := range f.above {
		pkg := bundle.Find(dir, name)
		if pkg == "" {
			continue
		}
		if err := bundle.MakeLinks(pkg); err == nil {
			b, err := f.probe(ctx, filepath.Join(pkg, "native", "bin"), SourceNPM)
			if !denied(err) {
				return b, err
			}
		}
		return f.npmCopy(ctx, pkg)
	}
	return binaries{}, fmt.Errorf("%s in node_modules above %s: %w", name, strings.Join(f.above, " and "), errNone)
}

func (f finder) npmCopy(ctx context.Context, pkg string) (binaries, error) {
	manifest, err := os.Open(filepath.Join(pkg, "package.json"))
	if err != nil {
		return binaries{}, err
	}
	defer func() { _ = manifest.Close() }()
	key, err := bundle.Key(manifest)
	if err != nil {
		return binaries{}, err
	}
	dir, err := f.keep(key, func(dst string) error { return bundle.Copy(pkg, dst) })
	if err != nil {
		return binaries{}, err
	}
	return f.probe(ctx, filepath.Join(dir, "bin"), SourceNPM)
}

// keep returns the folder of the store with the given key, made by make if it
// is not there. It is made aside and renamed when it is whole and on disk.
func (f finder) keep(key string, make func(dst string) error) (string, error) {
	dir := filepath.Join(f.store, storePrefix+key)
	err := whileLocked(filepath.Join(f.store, "unpack.lock"), func() error {
		if _, err := os.Stat(dir); err == nil {
			return nil
		}
		tmp := dir + ".new"
		if err := os.RemoveAll(tmp); err != nil {
			return err
		}
		if err := make(tmp); err != nil {
			return errors.Join(err, os.RemoveAll(tmp))
		}
		if f.durable {
			if err := syncTree(tmp); err != nil {
				return err
			}
		}
		return os.Rename(tmp, dir)
	})
	return dir, err
}

// forget removes unpacked programs of other builds, which nothing uses any more.
func (f finder) forget(used binaries) error {
	dirs, err := filepath.Glob(filepath.Join(f.store, storePrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if !strings.HasPrefix(used.dir, dir+string(filepath.Separator)) {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	return err
}
