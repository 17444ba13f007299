package gitwork

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genericcorp/corp/runner/sandbox"
)

// entry is one line of a tree object, which git itself would not write like that.
type entry struct{ mode, name, id string }

// plant writes a tree object as it is and returns its id.
func plant(t *testing.T, repository string, entries ...entry) string {
	t.Helper()
	var raw strings.Builder
	for _, e := range entries {
		id, err := hex.DecodeString(e.id)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&raw, "%s %s\x00%s", e.mode, e.name, id)
	}
	file := filepath.Join(t.TempDir(), "tree")
	if err := os.WriteFile(file, []byte(raw.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return sh(t, repository, "git hash-object -w -t tree --literally --stdin < "+file)
}

// TestNoNameInARepositoryLeadsOutOfTheCheckout is about what comes as a tree of files.
// Attack case 53. Control: an ordinary file is checked out.
func TestNoNameInARepositoryLeadsOutOfTheCheckout(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	for name, tree := range map[string]func(repository, file, link string) []entry{
		"an ordinary file": func(_, file, _ string) []entry { return []entry{{"100644", "canary", file}} }, // the positive control
		"a parent": func(r, file, _ string) []entry {
			return []entry{{"40000", "..", plant(t, r, entry{"100644", "canary", file})}}
		},
		"a slash":          func(_, file, _ string) []entry { return []entry{{"100644", "../canary", file}} },
		"an absolute name": func(_, file, _ string) []entry { return []entry{{"100644", outside + "/canary", file}} },
		"a backslash":      func(_, file, _ string) []entry { return []entry{{"100644", "..\\canary", file}} },
		"git's own folder": func(r, file, _ string) []entry {
			return []entry{{"40000", ".git", plant(t, r, entry{"40000", "hooks", plant(t, r, entry{"100755", "post-checkout", file})})}}
		},
		"in other letters": func(r, file, _ string) []entry {
			return []entry{{"40000", ".GIT", plant(t, r, entry{"100755", "config", file})}}
		},
		"with a joiner": func(r, file, _ string) []entry {
			return []entry{{"40000", ".g\u200cit", plant(t, r, entry{"100755", "config", file})}}
		},
		"through a link": func(r, file, link string) []entry {
			return []entry{{"120000", "a", link}, {"40000", "a", plant(t, r, entry{"100644", "canary", file})}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repository := userRepository(t)
			blob := func(text string) string {
				return sh(t, repository, "printf '%s' '"+text+"' | git hash-object -w --stdin")
			}
			top := plant(t, repository, tree(repository, blob("#!/bin/sh\ntouch "+outside+"/ran\n"), blob(outside))...)
			sh(t, repository, "git update-ref refs/heads/main $(git commit-tree -m x "+top+")")
			remote := t.TempDir()
			sh(t, remote, "git init -q --bare . && git --git-dir="+repository+"/.git push -q "+remote+" refs/heads/main:refs/heads/main && git symbolic-ref HEAD refs/heads/main")
			bundle := filepath.Join(t.TempDir(), "base.bundle")
			sh(t, remote, "git update-ref refs/corp/base refs/heads/main && git bundle create -q "+bundle+" refs/corp/base")
			place := placeAt(t, sandbox.None) // with no sandbox behind which it would not matter
			_, err := Fetch(t.Context(), place, Source{Bundle: bundle})
			root := place.Folder.Checkout()
			if _, there := os.Lstat(filepath.Join(root, "canary")); (there == nil) != (name == "an ordinary file") {
				t.Errorf("the canary in the checkout: %v (%v)", there, err)
			}
			for _, path := range []string{filepath.Join(outside, "canary"), filepath.Join(outside, "ran"), filepath.Join(filepath.Dir(root), "canary"), filepath.Join(root, ".git", "hooks", "post-checkout")} {
				if _, err := os.Lstat(path); err == nil {
					t.Errorf("%s is there", path)
				}
			}
		})
	}
}
