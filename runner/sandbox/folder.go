package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/genericcorp/corp"
)

// Folder is the work folder of one run:
//
//	<work>/<run id>/        0700, the runner's
//	    checkout/           the agent's clone
//	    home/  tmp/         the agent's HOME and /tmp
//	    scratch/            what sandboxed git writes while it collects
//	    git/                the trusted repository; never writable inside
//	    sock/gateway.sock   the way out
type Folder struct{ root string }

// FolderOf names the folder of a run below work, an absolute path. It touches
// nothing.
func FolderOf(work string, run corp.RunID) Folder {
	return Folder{root: filepath.Join(work, run.String())}
}

// Root returns the path of the folder itself.
func (f Folder) Root() string { return f.root }

// Checkout returns the path of the agent's clone.
func (f Folder) Checkout() string { return filepath.Join(f.root, "checkout") }

// Home returns the path of the agent's HOME.
func (f Folder) Home() string { return filepath.Join(f.root, "home") }

// Tmp returns the path of the agent's /tmp.
func (f Folder) Tmp() string { return filepath.Join(f.root, "tmp") }

// Git returns the path of the trusted repository.
func (f Folder) Git() string { return filepath.Join(f.root, "git") }

// Scratch returns the path where sandboxed git may write.
func (f Folder) Scratch() string { return filepath.Join(f.root, "scratch") }

// Socket returns the path of the gateway's unix socket.
func (f Folder) Socket() string { return filepath.Join(f.root, "sock", "gateway.sock") }

// Make makes the folder, empty. One that is already there is a conflict: the
// caller removes it first, once nothing runs in it any more. Under bubblewrap
// a runner that is root gives the writable folders to the sandbox's own user.
func (f Folder) Make(level Level) error {
	if err := os.MkdirAll(filepath.Dir(f.root), 0o700); err != nil {
		return fmt.Errorf("make run folder: %w", err)
	}
	if err := os.Mkdir(f.root, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return corp.Conflict("The run's work folder is already there.", "Remove it before the run starts again.")
		}
		return fmt.Errorf("make run folder: %w", err)
	}
	for _, dir := range []string{f.Checkout(), f.Home(), f.Tmp(), f.Scratch()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make run folder: %w", err)
		}
		if err := give(dir, level); err != nil {
			return err
		}
	}
	// The repository is shown read-only to another user, so its mode lets others
	// read; the 0700 of the folder above keeps them out on the host.
	for dir, mode := range map[string]fs.FileMode{f.Git(): 0o755, filepath.Dir(f.Socket()): 0o700} {
		if err := errors.Join(os.Mkdir(dir, mode), os.Chmod(dir, mode)); err != nil {
			return fmt.Errorf("make run folder: %w", err)
		}
	}
	return nil
}

// Remove deletes the folder with all that an agent may have made in it. It
// follows no link, opens folders that were closed to their owner, and may be
// called again after a failure. A folder that is not there is no error.
func (f Folder) Remove() error {
	if err := os.RemoveAll(f.root); err == nil {
		return nil
	}
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return fmt.Errorf("remove run folder: %w", err)
	}
	open(root)
	if err := errors.Join(root.Close(), os.RemoveAll(f.root)); err != nil {
		return fmt.Errorf("remove run folder: %w", err)
	}
	return nil
}

// open gives the owner back every right on dir and on the folders below it. It
// goes on after an error, because the removal that follows will name it.
func open(dir *os.Root) {
	_ = dir.Chmod(".", 0o700)
	f, err := dir.Open(".")
	if err != nil {
		return
	}
	entries, _ := f.ReadDir(-1)
	_ = f.Close()
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		_ = dir.Chmod(e.Name(), 0o700)
		if sub, err := dir.OpenRoot(e.Name()); err == nil {
			open(sub)
			_ = sub.Close()
		}
	}
}
