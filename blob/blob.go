// Package blob keeps bytes that are too large for the database in a folder: git
// bundles of sources and results, and patches. What a blob is and whose it is
// stands in the database; here are only the bytes.
//
// A file's name is made of typed ids and nothing else, and every access goes
// through an os.Root, so that no name and no link leads out of the folder. It
// does not decide who may read a blob, and it never lists them.
package blob

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/genericcorp/corp"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
	// incoming holds uploads until they are whole.
	incoming = "incoming"
	// named holds the folder's name.
	named = "store-id"
	// A leftover of a crash is not an upload in progress after this long.
	staleAfter = 24 * time.Hour
)

// Store keeps blobs in one folder, with a sub-folder for each workspace. It is
// safe for concurrent use, by several processes too.
type Store struct {
	root *os.Root
	id   string
}

// Open opens the store in dir, making the folder if it is not there, and clears
// away what uploads left behind that a crash cut short.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	s := &Store{root: root}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open blob store: %w", err), root.Close())
	}
	return s, nil
}

// ID names the folder: the same for every process that uses it, another for
// every other folder.
func (s *Store) ID() string { return s.id }

// Close lets go of the folder. Readers that are open stay usable.
func (s *Store) Close() error { return s.root.Close() }

func (s *Store) prepare() error {
	if err := s.root.Chmod(".", dirMode); err != nil {
		return err
	}
	if err := s.root.MkdirAll(incoming, dirMode); err != nil {
		return err
	}
	if err := s.name(); err != nil {
		return err
	}
	leftovers, err := fs.ReadDir(s.root.FS(), incoming)
	if err != nil {
		return err
	}
	for _, entry := range leftovers {
		info, err := entry.Info()
		if err == nil && time.Since(info.ModTime()) > staleAfter {
			_ = s.root.Remove(path.Join(incoming, entry.Name())) // another process may have been quicker
		}
	}
	return nil
}

// name reads the folder's name, or gives it one. Two processes that open a new
// folder at the same time agree: link never replaces.
func (s *Store) name() error {
	text, err := s.root.ReadFile(named)
	if errors.Is(err, fs.ErrNotExist) {
		own := path.Join(incoming, "id-"+rand.Text())
		if err := s.root.WriteFile(own, []byte(rand.Text()+"\n"), fileMode); err != nil {
			return err
		}
		defer func() { _ = s.root.Remove(own) }()
		if err := s.root.Link(own, named); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		text, err = s.root.ReadFile(named)
	}
	s.id = strings.TrimSpace(string(text))
	return err
}

// Put stores what r yields and returns its size in bytes and its SHA-256 in hex.
// More than limit bytes is an invalid error, an id that is taken a conflict, a
// full disk unavailable; after an error nothing is stored.
func (s *Store) Put(ctx context.Context, ws corp.WorkspaceID, id corp.BlobID, r io.Reader, limit int64) (size int64, sha256hex string, err error) {
	name, err := fileName(ws, id)
	if err != nil {
		return 0, "", err
	}
	if err := s.root.MkdirAll(ws.String(), dirMode); err != nil {
		return 0, "", wrap("put blob", err)
	}
	temporary := path.Join(incoming, rand.Text())
	defer func() {
		if err != nil {
			_ = s.root.Remove(temporary)
		}
	}()
	sum := sha256.New()
	if size, err = s.write(ctx, temporary, io.TeeReader(io.LimitReader(r, limit+1), sum)); err != nil {
		return 0, "", err
	}
	if size > limit {
		return 0, "", corp.Invalid("body", fmt.Sprintf("The file is larger than %d bytes.", limit), "Send a smaller one: a bundle of fewer commits, for instance.")
	}
	// A link and not a rename: it refuses to replace what is there.
	if err = s.root.Link(temporary, name); errors.Is(err, fs.ErrExist) {
		return 0, "", corp.Conflict("There is a file of this id already.", "Use a new id.")
	} else if err != nil {
		return 0, "", wrap("put blob", err)
	}
	if err := s.root.Remove(temporary); err != nil {
		return 0, "", wrap("put blob", err)
	}
	if err := s.syncDir(ws.String()); err != nil {
		return 0, "", wrap("put blob", err)
	}
	return size, hex.EncodeToString(sum.Sum(nil)), nil
}

// Get opens the bytes of a blob; the caller closes the reader.
func (s *Store) Get(ctx context.Context, ws corp.WorkspaceID, id corp.BlobID) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	name, err := fileName(ws, id)
	if err != nil {
		return nil, err
	}
	f, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, corp.NotFound("file")
	}
	if err != nil {
		return nil, wrap("get blob", err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("get blob: %s is not a file", name), err, f.Close())
	}
	return f, nil
}

// Delete removes the bytes of a blob. That there are none is no error.
func (s *Store) Delete(ctx context.Context, ws corp.WorkspaceID, id corp.BlobID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name, err := fileName(ws, id)
	if err != nil {
		return err
	}
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap("delete blob", err)
	}
	return nil
}

// DeleteAll removes the bytes of all blobs of a workspace. That there are none is no
// error.
func (s *Store) DeleteAll(ctx context.Context, ws corp.WorkspaceID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ws.IsZero() {
		return errors.New("delete blobs: the workspace is missing")
	}
	if err := s.root.RemoveAll(ws.String()); err != nil {
		return wrap("delete blobs", err)
	}
	return nil
}

// write copies r into a new file and makes it durable.
func (s *Store) write(ctx context.Context, name string, r io.Reader) (size int64, err error) {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return 0, wrap("put blob", err)
	}
	size, err = io.Copy(f, cancellable{ctx, r})
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return 0, wrap("put blob", err)
	}
	return size, nil
}

// syncDir makes a new name durable.
func (s *Store) syncDir(name string) error {
	d, err := s.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// cancellable ends a copy when nobody waits for it any more.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// fileName refuses zero ids, whose text is empty and would name another place.
func fileName(ws corp.WorkspaceID, id corp.BlobID) (string, error) {
	if ws.IsZero() || id.IsZero() {
		return "", errors.New("name blob: the workspace or the id is missing")
	}
	return path.Join(ws.String(), id.String()), nil
}

func wrap(doing string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &corp.Error{Kind: corp.KindUnavailable, Code: "disk_full", Message: "The server has no room left for this file.", Hint: "Ask the operator to make room in the data folder, then try again.", Err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}
