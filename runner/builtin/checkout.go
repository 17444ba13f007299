package builtin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	maxFileBytes = 16 << 20 // of a file that is edited or searched
	maxReadBytes = 64 << 20 // of a file that is read in parts
)

// checkout is the folder that the agent works on. Its files are reached through
// os.Root, so no name, symbolic link or race leads out of it.
type checkout struct {
	root *os.Root
	dir  string // absolute, as the client named it
	real string // the same without symbolic links
}

func openCheckout(dir string) (*checkout, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("open checkout: %w", err)
	}
	root, err := os.OpenRoot(resolved)
	if err != nil {
		return nil, fmt.Errorf("open checkout: %w", err)
	}
	return &checkout{root: root, dir: filepath.Clean(dir), real: resolved}, nil
}

// misuse is an error of the model's: its text is help, and goes back to it.
type misuse string

// Error returns the help.
func (m misuse) Error() string { return string(m) }

func misused(format string, args ...any) misuse { return misuse(fmt.Sprintf(format, args...)) }

// rel turns what the model wrote into a path inside the checkout, with slashes.
func (c *checkout) rel(name string) (string, error) {
	if name == "" {
		return "", misuse("path is missing. Give a path relative to the checkout.")
	}
	if strings.ContainsRune(name, 0) {
		return "", misuse("path contains a NUL byte.")
	}
	clean := filepath.Clean(name)
	if filepath.IsAbs(clean) {
		inside := ""
		for _, base := range []string{c.dir, c.real} {
			if r, err := filepath.Rel(base, clean); err == nil && filepath.IsLocal(r) {
				inside = r
				break
			}
		}
		if inside == "" {
			return "", misused("%s is outside the checkout. File tools reach only what is below %s.", clip(name, 300), c.dir)
		}
		clean = inside
	}
	if !filepath.IsLocal(clean) {
		return "", misused("%s leads out of the checkout. File tools reach only what is below %s.", clip(name, 300), c.dir)
	}
	return filepath.ToSlash(clean), nil
}

// writable is rel for a path that is to be changed.
func (c *checkout) writable(name string) (string, error) {
	r, err := c.rel(name)
	if err != nil {
		return "", err
	}
	for segment := range strings.SplitSeq(r, "/") {
		if strings.EqualFold(segment, ".git") {
			return "", misuse("The .git folder belongs to git and is not to be edited. Nothing was changed.")
		}
	}
	if r == "." {
		return "", misuse("path names the checkout itself, not a file in it.")
	}
	return r, nil
}

// abs is the path of a file as the client sees it.
func (c *checkout) abs(rel string) string { return filepath.Join(c.dir, filepath.FromSlash(rel)) }

// open opens a regular file for reading. It does not wait for a pipe's writer,
// which a hostile checkout could hold out on for ever.
func (c *checkout) open(rel string) (*os.File, fs.FileInfo, error) {
	f, err := c.root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, c.explain(rel, err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = c.explain(rel, err)
	case info.IsDir():
		err = misused("%s is a folder. Use list to see what is in it.", rel)
	case !info.Mode().IsRegular():
		err = misused("%s is not a regular file (%s).", rel, info.Mode().Type())
	}
	if err != nil {
		_ = f.Close() // it was only looked at
		return nil, nil, err
	}
	return f, info, nil
}

// load reads a whole file of at most maxFileBytes.
func (c *checkout) load(rel string) ([]byte, error) {
	f, _, err := c.open(rel)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading only
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, c.explain(rel, err)
	}
	if len(content) > maxFileBytes {
		return nil, misused("%s is larger than %d MiB. Work on it with a command, as sed or a script.", rel, maxFileBytes>>20)
	}
	return content, nil
}

// store writes a file as a whole or not at all: a full disk must not leave half
// of the user's code. A symbolic link is written through, inside the checkout.
func (c *checkout) store(rel string, content []byte) error {
	if dir := path.Dir(rel); dir != "." {
		if err := c.root.MkdirAll(dir, 0o755); err != nil {
			return c.explain(rel, err)
		}
	}
	mode := fs.FileMode(0o644)
	switch info, err := c.root.Lstat(rel); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return c.explain(rel, err)
	case info.Mode()&fs.ModeSymlink != 0:
		if err := c.root.WriteFile(rel, content, 0o644); err != nil {
			return c.explain(rel, err)
		}
		return nil
	case info.IsDir():
		return misused("%s is a folder.", rel)
	case !info.Mode().IsRegular():
		return misused("%s is not a regular file (%s).", rel, info.Mode().Type())
	default:
		mode = info.Mode().Perm()
	}
	return c.replace(rel, content, mode)
}

func (c *checkout) replace(rel string, content []byte, mode fs.FileMode) error {
	temporary := path.Join(path.Dir(rel), ".corp-"+newID("")+".tmp")
	err := c.root.WriteFile(temporary, content, mode)
	if err == nil {
		err = c.root.Chmod(temporary, mode) // whatever the umask left out
	}
	if err == nil {
		err = c.root.Rename(temporary, rel)
	}
	if err != nil {
		_ = c.root.Remove(temporary) // it may not be there
		return c.explain(rel, err)
	}
	return nil
}

// explain turns an error of the file system into help for the model; what the
// model can do nothing about keeps its cause.
func (c *checkout) explain(rel string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return misused("There is no %s.%s", rel, c.similar(rel))
	case errors.Is(err, fs.ErrPermission):
		return misused("%s may not be accessed: permission denied.", rel)
	case errors.Is(err, syscall.ENOTDIR):
		return misused("A part of the path %s is a file, not a folder.", rel)
	case errors.Is(err, syscall.EISDIR):
		return misused("%s is a folder.", rel)
	case errors.Is(err, syscall.ENAMETOOLONG):
		return misused("The path %s is too long.", clip(rel, 100))
	case errors.Is(err, syscall.ELOOP), strings.Contains(err.Error(), "escapes from parent"):
		return misused("%s leads out of the checkout through a symbolic link. File tools do not follow it.", rel)
	default:
		return fmt.Errorf("access %s: %w", rel, err)
	}
}

// similar names files that the model may have meant.
func (c *checkout) similar(rel string) string {
	dir, err := c.root.Open(path.Dir(rel))
	if err != nil {
		return " Its folder does not exist either; use list to see what there is."
	}
	defer func() { _ = dir.Close() }() // opened for reading only
	names, err := dir.Readdirnames(2000)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	base := path.Base(rel)
	slices.SortFunc(names, func(a, b string) int {
		if d := dice(b, base) - dice(a, base); d != 0 {
			return sign(d)
		}
		return strings.Compare(a, b)
	})
	var near []string
	for _, name := range names[:min(3, len(names))] {
		if dice(name, base) > 0.4 {
			near = append(near, path.Join(path.Dir(rel), name))
		}
	}
	if len(near) == 0 {
		return " Use list or search to find it."
	}
	return " Did you mean " + strings.Join(near, ", ") + "?"
}

func sign(f float64) int {
	if f < 0 {
		return -1
	}
	return 1
}

// isFull says whether there is no space left to write to.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
