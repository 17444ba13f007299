package blob_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/blob"
)

func open(t *testing.T) (*blob.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "blobs")
	s, err := blob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, dir
}

func ids() (corp.WorkspaceID, corp.BlobID) {
	return newWorkspaceID(), newBlobID()
}

func newWorkspaceID() corp.WorkspaceID { return corp.NewID[corp.WorkspaceID]() }
func newBlobID() corp.BlobID           { return corp.NewID[corp.BlobID]() }

func read(t *testing.T, s *blob.Store, ws corp.WorkspaceID, id corp.BlobID) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), ws, id)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatIsPutIsGotBackWithItsSum(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	ws, id := ids()
	data := make([]byte, 1<<20+17)
	_, _ = rand.Read(data)
	size, sum, err := s.Put(t.Context(), ws, id, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(data)
	if size != int64(len(data)) || sum != hex.EncodeToString(want[:]) {
		t.Errorf("size %d sum %s, want %d %x", size, sum, len(data), want)
	}
	if !bytes.Equal(read(t, s, ws, id), data) {
		t.Error("the bytes differ")
	}
	if leftovers, _ := os.ReadDir(filepath.Join(dir, "incoming")); len(leftovers) != 0 {
		t.Errorf("an upload left %v behind", leftovers)
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		info, _ := d.Info()
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", p, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Attack case 53. Control: its own workspace reads and deletes it.
func TestABlobOfAnotherWorkspaceIsNotFound(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	ws, id := ids()
	if _, _, err := s.Put(t.Context(), ws, id, strings.NewReader("mine"), 10); err != nil {
		t.Fatal(err)
	}
	_, foreign := s.Get(t.Context(), newWorkspaceID(), id)
	_, missing := s.Get(t.Context(), ws, newBlobID())
	if corp.KindOf(foreign) != corp.KindNotFound || foreign.Error() != missing.Error() {
		t.Errorf("foreign: %v, missing: %v", foreign, missing)
	}
	if err := s.Delete(t.Context(), newWorkspaceID(), id); err != nil {
		t.Error(err)
	}
	if got := string(read(t, s, ws, id)); got != "mine" {
		t.Errorf("another workspace's delete left %q", got)
	}
	if err := s.Delete(t.Context(), ws, id); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), ws, id); corp.KindOf(err) != corp.KindNotFound {
		t.Errorf("after the delete: %v", err)
	}
}

type brokenReader struct{ after int }

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.after -= len(p); b.after < 0 {
		return 0, errors.New("the line broke")
	}
	return len(p), nil
}

func TestAFailedPutStoresNothing(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		r    io.Reader
		kind corp.Kind
	}{
		"too large": {t.Context(), strings.NewReader(strings.Repeat("x", 101)), corp.KindInvalid},
		"broken":    {t.Context(), &brokenReader{after: 1 << 16}, corp.KindInternal},
		"cancelled": {cancelled, strings.NewReader("x"), corp.KindInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dir := open(t)
			ws, id := ids()
			limit := int64(100)
			if name == "broken" {
				limit = 1 << 30
			}
			if _, _, err := s.Put(c.ctx, ws, id, c.r, limit); corp.KindOf(err) != c.kind {
				t.Errorf("put: %v, want %s", err, c.kind)
			}
			if _, err := s.Get(t.Context(), ws, id); corp.KindOf(err) != corp.KindNotFound {
				t.Errorf("get: %v", err)
			}
			if leftovers, _ := os.ReadDir(filepath.Join(dir, "incoming")); len(leftovers) != 0 {
				t.Errorf("it left %v behind", leftovers)
			}
		})
	}
}

func TestAnIDIsWrittenOnceHoweverManyTry(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	ws, id := ids()
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := []string{}
	for i := range 20 {
		wg.Go(func() {
			text := strings.Repeat(string(rune('a'+i)), 1000)
			_, _, err := s.Put(t.Context(), ws, id, strings.NewReader(text), 1000)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, text)
			} else if corp.KindOf(err) != corp.KindConflict {
				t.Errorf("put: %v", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 || won[0] != string(read(t, s, ws, id)) {
		t.Errorf("%d writers won", len(won))
	}
}

// Attack case 53. Control: an ordinary file is read back, in TestWhatIsPutIsGotBackWithItsSum.
func TestNoLinkLeadsOutOfTheFolder(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	ws, id := ids()
	if err := os.Mkdir(filepath.Join(dir, ws.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{outside, "../../secret", filepath.Join("..", "incoming")} {
		name := filepath.Join(dir, ws.String(), id.String())
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Get(t.Context(), ws, id); err == nil {
			_ = r.Close()
			t.Errorf("a link to %s was followed", target)
		}
		if _, _, err := s.Put(t.Context(), ws, id, strings.NewReader("x"), 1); err == nil {
			t.Errorf("a link to %s was written through", target)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	linked := newWorkspaceID()
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(dir, linked.String())); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Put(t.Context(), linked, id, strings.NewReader("x"), 1); err == nil {
		t.Error("a linked workspace folder was written through")
	}
	if b, _ := os.ReadFile(outside); string(b) != "secret" {
		t.Errorf("the file outside is now %q", b)
	}
}

func TestZeroIDsNameNothing(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	ws, id := ids()
	for _, c := range []struct {
		ws corp.WorkspaceID
		id corp.BlobID
	}{{corp.WorkspaceID{}, id}, {ws, corp.BlobID{}}, {}} {
		if _, _, err := s.Put(t.Context(), c.ws, c.id, strings.NewReader("x"), 1); err == nil {
			t.Error("a put without an id succeeded")
		}
		if _, err := s.Get(t.Context(), c.ws, c.id); err == nil {
			t.Error("a get without an id succeeded")
		}
		if err := s.Delete(t.Context(), c.ws, c.id); err == nil {
			t.Error("a delete without an id succeeded")
		}
	}
}

func TestOpeningClearsAwayOldLeftoversOnly(t *testing.T) {
	t.Parallel()
	s, dir := open(t)
	_ = s.Close()
	old, fresh := filepath.Join(dir, "incoming", "old"), filepath.Join(dir, "incoming", "fresh")
	for _, name := range []string{old, fresh} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	again, err := blob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old leftover: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("an upload in progress: %v", err)
	}
}

func TestAllWhoOpenAFolderAgreeOnItsName(t *testing.T) {
	t.Parallel()
	_, other := open(t)
	dir := filepath.Join(t.TempDir(), "blobs")
	names := make(chan string, 16)
	var all sync.WaitGroup
	for range cap(names) {
		all.Go(func() {
			s, err := blob.Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			names <- s.ID()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(names)
	first := <-names
	for name := range names {
		if name != first || name == "" {
			t.Errorf("%q and %q", first, name)
		}
	}
	if text, err := os.ReadFile(filepath.Join(other, "store-id")); err != nil || strings.TrimSpace(string(text)) == first {
		t.Errorf("another folder has the name %q, %v", text, err)
	}
}

func TestAWorkspacesFilesGoTogetherAndNobodyElses(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	mine, theirs := newWorkspaceID(), newWorkspaceID()
	var ids []corp.BlobID
	for _, ws := range []corp.WorkspaceID{mine, mine, theirs} {
		ids = append(ids, newBlobID())
		if _, _, err := s.Put(t.Context(), ws, ids[len(ids)-1], strings.NewReader("x"), 10); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // that there are none is no error
		if err := s.DeleteAll(t.Context(), mine); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids[:2] {
		if _, err := s.Get(t.Context(), mine, id); corp.KindOf(err) != corp.KindNotFound {
			t.Errorf("it is there: %v", err)
		}
	}
	if got := string(read(t, s, theirs, ids[2])); got != "x" {
		t.Errorf("the other's is %q", got)
	}
	if err := s.DeleteAll(t.Context(), corp.WorkspaceID{}); err == nil {
		t.Error("the workspace that nobody named was deleted")
	}
}
