package gitwork

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/sandbox"
)

func changed(t *testing.T, f forge, script string) (*Checkout, Result) {
	t.Helper()
	c, err := Fetch(t.Context(), placeAt(t, sandbox.Bubblewrap), Source{URL: f.url + "/app.git"})
	if err != nil {
		t.Fatal(err)
	}
	agent(t, c, script)
	return c, collect(t, c)
}

func TestDeliverPushesOneBranchOnceHoweverOftenItIsAsked(t *testing.T) {
	t.Parallel()
	forge := newForge(t, false)
	app := filepath.Join(forge.root, "app.git")
	before := sh(t, app, "git for-each-ref")
	c, r := changed(t, forge, "echo x > x; git tag evil; git branch other")
	d := Delivery{URL: forge.url + "/app.git"}
	for range 3 {
		if err := c.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	after := sh(t, app, "git for-each-ref --sort=refname")
	if want := r.Commit + " commit\trefs/heads/" + r.Branch; len(strings.Split(after, "\n")) != len(strings.Split(before, "\n"))+1 || !strings.Contains(after, want) {
		t.Errorf("got\n%s", after)
	}
	if got := sh(t, app, "git fsck --strict 2>&1 | grep -v dangling || true; git merge-base main "+r.Branch); got != c.Base() {
		t.Errorf("got %s", got)
	}
}

func TestALaterRunReplacesOnlyWhatAnEarlierOneDelivered(t *testing.T) {
	t.Parallel()
	forge := newForge(t, false)
	app := filepath.Join(forge.root, "app.git")
	d := Delivery{URL: forge.url + "/app.git"}
	first, _ := changed(t, forge, "echo 1 > x")
	if err := first.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	second, two := changed(t, forge, "echo 2 > x")
	expect(t, second.Deliver(t.Context(), d), corp.ReasonDelivery, corp.KindConflict, "branch")
	d.Again = true
	if err := second.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, app, "git rev-parse "+two.Branch); got != two.Commit {
		t.Errorf("got %s", got)
	}
	theirs := sh(t, app, "c=$(git commit-tree -p "+two.Branch+" -m more "+two.Branch+"^{tree}) && git update-ref refs/heads/"+two.Branch+" $c && echo $c")
	third, _ := changed(t, forge, "echo 3 > x")
	expect(t, third.Deliver(t.Context(), d), corp.ReasonDelivery, corp.KindConflict, "branch")
	if got := sh(t, app, "git rev-parse "+two.Branch); got != theirs {
		t.Errorf("somebody's commit was lost: %s", got)
	}
}

func TestARefusalOfTheServerHasItsSentence(t *testing.T) {
	t.Parallel()
	forge := newForge(t, false)
	app := filepath.Join(forge.root, "app.git")
	hook := filepath.Join(app, "hooks", "pre-receive")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho not here >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, _ := changed(t, forge, "echo x > x")
	d := Delivery{URL: forge.url + "/app.git"}
	expect(t, c.Deliver(t.Context(), d), corp.ReasonDelivery, corp.KindConflict, "repository")
	if err := os.Remove(hook); err != nil {
		t.Fatal(err)
	}
	sh(t, app, "git config http.receivepack false")
	expect(t, c.Deliver(t.Context(), d), corp.ReasonDelivery, corp.KindInvalid, "credential")
	expect(t, c.Deliver(t.Context(), Delivery{URL: forge.url + "/nope.git"}), corp.ReasonDelivery, corp.KindInvalid, "repository")
	expect(t, c.Deliver(t.Context(), Delivery{URL: "file://" + app}), corp.ReasonRepository, corp.KindInvalid, "repository")
}

func TestTheResultArrivesAsABranchAndNothingElseChanges(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level sandbox.Level) {
		t.Helper()
		repository := userRepository(t)
		sh(t, repository, `echo local >> a.txt; echo staged > staged; git add staged; echo untracked > untracked; touch src/main.go
			for h in reference-transaction post-checkout pre-auto-gc; do printf '#!/bin/sh\necho ran >> '$PWD'/canary\n' > .git/hooks/$h; chmod +x .git/hooks/$h; done
			git config core.fsmonitor 'echo ran >> '$PWD'/canary; false'; git config fetch.prune true; git config remote.origin.fetch +refs/*:refs/*`)
		if err := os.Remove(filepath.Join(repository, "canary")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		before := fingerprint(t, repository)
		bundle, base := bundleOf(t, repository, "")
		if !base.Dirty {
			t.Error("uncommitted changes were not seen")
		}
		if diff := cmp.Diff(before, fingerprint(t, repository)); diff != "" {
			t.Errorf("making the bundle changed the repository:\n%s", diff)
		}
		c, err := Fetch(t.Context(), placeAt(t, level), Source{Bundle: bundle, Base: base.Commit})
		if err != nil {
			t.Fatal(err)
		}
		agent(t, c, "echo fixed > a.txt; echo new > new")
		r := collect(t, c)
		var out bytes.Buffer
		if err := c.Bundle(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "result.bundle")
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLocal(t.Context(), filepath.Join(repository, "src"))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := l.FetchResult(t.Context(), path, r.Branch); err != nil {
				t.Fatal(err)
			}
		}
		skip := []string{".git/objects", ".git/refs/heads/corp"}
		after := fingerprint(t, repository, skip...)
		for name, print := range before {
			if strings.HasPrefix(name, ".git/objects") {
				continue
			}
			if after[name] != print && name != ".git/refs/heads" && name != ".git" {
				t.Errorf("%s changed", name)
			}
			delete(after, name)
		}
		if len(after) > 0 {
			t.Errorf("new files: %v", after)
		}
		if got := sh(t, repository, "git -c core.fsmonitor=false rev-parse corp/"+task.String()); got != r.Commit {
			t.Errorf("the branch is %s, want %s", got, r.Commit)
		}
		sh(t, repository, "rm -rf .git/hooks; git config --unset core.fsmonitor; git stash -qu && git merge -q --ff-only "+r.Branch+" && test $(cat new) = new")
	})
}

func TestFetchResultNeverOverwritesABranchOfTheUser(t *testing.T) {
	t.Parallel()
	repository := userRepository(t)
	c := fetchLocal(t, repository, sandbox.Bubblewrap)
	agent(t, c, "echo x > x")
	r := collect(t, c)
	var out bytes.Buffer
	if err := c.Bundle(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "result.bundle")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLocal(t.Context(), repository)
	if err != nil {
		t.Fatal(err)
	}
	mine := sh(t, repository, "git checkout -q -b "+r.Branch+" && git commit -q --allow-empty -m mine && git rev-parse HEAD")
	expect(t, l.FetchResult(t.Context(), path, r.Branch), corp.ReasonDelivery, corp.KindConflict, "branch")
	sh(t, repository, "git checkout -q main")
	expect(t, l.FetchResult(t.Context(), path, r.Branch), corp.ReasonDelivery, corp.KindConflict, "branch")
	if got := sh(t, repository, "git rev-parse "+r.Branch); got != mine {
		t.Errorf("got %s, want %s", got, mine)
	}
	for _, branch := range []string{"main", "corp/", "corp/../main", "corp/a:refs/heads/main", "corp/x y", "-x", "corp/-x", "corp/x.lock", "refs/heads/corp/x", "corp/a/b"} {
		expect(t, l.FetchResult(t.Context(), path, branch), corp.ReasonDelivery, corp.KindInvalid, "branch")
	}
	elsewhere := t.TempDir()
	sh(t, elsewhere, "git init -q . && git commit -q --allow-empty -m other")
	other, err := OpenLocal(t.Context(), elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, other.FetchResult(t.Context(), path, r.Branch), corp.ReasonDelivery, corp.KindConflict, "repository")
}

func TestOpenLocalAndResolveRefuseWhatIsNoBase(t *testing.T) {
	t.Parallel()
	plain := t.TempDir()
	for _, path := range []string{plain, filepath.Join(plain, "missing"), "/dev/null", ""} {
		if path == "" {
			continue
		}
		_, err := OpenLocal(t.Context(), path)
		expect(t, err, corp.ReasonRepository, corp.KindInvalid, "repository")
	}
	sh(t, plain, "git init -q .")
	empty, err := OpenLocal(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	_, err = empty.Resolve(t.Context(), "")
	expect(t, err, corp.ReasonBase, corp.KindInvalid, "base")
	l, err := OpenLocal(t.Context(), userRepository(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"nope", "--all", "-h", "HEAD:a.txt", "HEAD~9"} {
		_, err := l.Resolve(t.Context(), ref)
		expect(t, err, corp.ReasonBase, corp.KindInvalid, "base")
	}
	expect(t, l.Bundle(t.Context(), strings.Repeat("1", 40), &bytes.Buffer{}), corp.ReasonBase, corp.KindInvalid, "base")
	expect(t, l.Bundle(t.Context(), "HEAD", &bytes.Buffer{}), corp.ReasonBase, corp.KindInvalid, "base")
}

func TestEveryKindOfLocalRepositoryCanBeTheBase(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	origin := userRepository(t)
	sh(t, home, `git clone -q --bare `+origin+` bare && git clone -q --depth 1 file://`+origin+` shallow && git clone -q --shared `+origin+` shared
		git clone -q `+origin+` parent && git -C parent worktree add -q ../tree main~1 2>/dev/null && git clone -q `+origin+` 'o"dd \ ü
name' && git clone -q `+origin+` detached && git -C detached checkout -q HEAD~1 && git clone -q `+origin+` packed && git -C packed pack-refs --all && git -C packed gc -q`)
	for _, name := range []string{"bare", "shallow", "shared", "tree", "o\"dd \\ ü\nname", "detached", "packed"} {
		repository := filepath.Join(home, name)
		before := fingerprint(t, repository)
		c := fetchLocal(t, repository, sandbox.Bubblewrap)
		if got := agent(t, c, "cat a.txt"); got != "one\ntwo\nthree\n" {
			t.Errorf("%s: got %q", name, got)
		}
		l, err := OpenLocal(t.Context(), repository)
		if err != nil {
			t.Fatal(err)
		}
		if base, err := l.Resolve(t.Context(), ""); err != nil || base.Dirty {
			t.Errorf("%s: dirty %v, %v", name, base.Dirty, err)
		}
		if diff := cmp.Diff(before, fingerprint(t, repository)); diff != "" {
			t.Errorf("%s: changed\n%s", name, diff)
		}
		agent(t, c, "echo x > x")
		r := collect(t, c)
		var out bytes.Buffer
		if err := c.Bundle(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "result.bundle")
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.FetchResult(t.Context(), path, r.Branch); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
