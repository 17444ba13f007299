package builtin

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// maxFolderEntries is how many entries of one folder are looked at: a hostile
// checkout may have a folder of millions.
const maxFolderEntries = 100_000

// folder is one folder during a walk.
type folder struct {
	root    *os.Root
	rel     string // from the checkout on; "." for the checkout
	ignored *ignoring
	entries []fs.DirEntry // sorted, without .git and what is ignored
}

// enter opens the folder rel below the checkout, reading the .gitignore files on
// the way to it. A folder that is named is entered even if it is ignored.
func (c *checkout) enter(rel string) (*folder, error) {
	at := &folder{rel: "."}
	root, err := c.root.OpenRoot(".")
	if err != nil {
		return nil, c.explain(rel, err)
	}
	at.root = root
	at.ignored = at.ignored.extend(".", at.slurp(".git/info/exclude"))
	at.ignored = at.ignored.extend(".", at.slurp(".gitignore"))
	if rel == "." {
		return at, nil
	}
	for name := range strings.SplitSeq(rel, "/") {
		next, err := at.down(name)
		at.close()
		if err != nil {
			return nil, c.explain(rel, err)
		}
		at = next
	}
	return at, nil
}

func (f *folder) close() { _ = f.root.Close() } // only read from

// down opens a folder of this one.
func (f *folder) down(name string) (*folder, error) {
	root, err := f.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	next := &folder{root: root, rel: path.Join(f.rel, name)}
	next.ignored = f.ignored.extend(next.rel, next.slurp(".gitignore"))
	return next, nil
}

// slurp reads a small regular file, or nothing.
func (f *folder) slurp(name string) []byte {
	in, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = in.Close() }() // only read from
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	content, err := io.ReadAll(io.LimitReader(in, maxIgnoreBytes))
	if err != nil {
		return nil
	}
	return content
}

// look lists the folder.
func (f *folder) look() error {
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only read from
	entries, err := dir.ReadDir(maxFolderEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == ".git" || f.ignored.match(path.Join(f.rel, e.Name()), e.IsDir())
	})
	slices.SortFunc(f.entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return nil
}

// walker visits the regular files below a folder, several at a time.
type walker struct {
	visit func(f *folder, name string)
	slots chan struct{}
	wait  sync.WaitGroup
}

// walk visits every regular file that is not ignored below start, in no order,
// on several goroutines. It does not follow symbolic links, and passes over
// folders that cannot be read. It closes start.
func walk(ctx context.Context, start *folder, visit func(f *folder, name string)) {
	// More goroutines than processors, because they wait for the disk.
	w := &walker{visit: visit, slots: make(chan struct{}, 2*runtime.GOMAXPROCS(0))}
	w.folder(ctx, start)
	w.wait.Wait()
}

// folder visits a folder; what is below it goes to a goroutine that is free, or
// else is done here, so that the number of goroutines has a bound.
func (w *walker) folder(ctx context.Context, f *folder) {
	defer f.close()
	if ctx.Err() != nil || f.look() != nil {
		return
	}
	for _, e := range f.entries {
		if e.Type().IsRegular() {
			if ctx.Err() != nil {
				return
			}
			w.visit(f, e.Name())
		}
	}
	for _, e := range f.entries {
		if !e.IsDir() {
			continue
		}
		next, err := f.down(e.Name())
		if err != nil {
			continue
		}
		select {
		case w.slots <- struct{}{}:
			w.wait.Go(func() {
				defer func() { <-w.slots }()
				w.folder(ctx, next)
			})
		default:
			w.folder(ctx, next)
		}
	}
}
