package gitwork

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/sandbox"
)

func TestTheFinalFilesBecomeOneCommitOnTheBase(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level sandbox.Level) {
		t.Helper()
		repository := userRepository(t)
		c := fetchLocal(t, repository, level)
		agent(t, c, `printf 'one\n2\nthree\nfour\n' > a.txt; git mv src/main.go src/app.go; git commit -qam wip; printf '\000new' > bin.dat; rm link
			mkdir ignored && echo x > ignored/x && echo x > y.log && printf 'a\tb' > 'odd
name' && echo x > -rf && mkdir empty && chmod +x bin.dat`)
		r := collect(t, c)
		want := Diffstat{Files: 6, Insertions: 4, Deletions: 2, PerFile: []FileStat{
			{Path: "-rf", Insertions: 1},
			{Path: "a.txt", Insertions: 2, Deletions: 1},
			{Path: "bin.dat", Binary: true},
			{Path: "link", Deletions: 1},
			{Path: "odd\nname", Insertions: 1},
			{Path: "src/app.go", OldPath: "src/main.go"},
		}}
		if diff := cmp.Diff(want, r.Diffstat); diff != "" {
			t.Error(diff)
		}
		if !r.Changed || r.Base != c.Base() || r.Branch != "corp/"+task.String() || r.PatchTruncated {
			t.Errorf("got %+v", r)
		}
		head, err := c.trusted(t.Context(), nil, "show", "-s", "--format=%P|%an|%ae|%at|%ct|%B", "refs/heads/"+r.Branch)
		if err != nil || head != c.Base()+"|Generic Corp Sable|"+DefaultEmail+"|1800000000|1800000000|Fix it\n\nAs asked.\n" {
			t.Errorf("got %q, %v", head, err)
		}
		// The patch applies to the user's own files and gives the same tree.
		patch := filepath.Join(t.TempDir(), "patch")
		if err := os.WriteFile(patch, r.Patch, 0o600); err != nil {
			t.Fatal(err)
		}
		tree, err := c.trusted(t.Context(), nil, "rev-parse", r.Commit+"^{tree}")
		if err != nil {
			t.Fatal(err)
		}
		if got := sh(t, repository, "git apply --index "+patch+" && git write-tree"); got != tree {
			t.Errorf("the patch gives %s, want %s", got, tree)
		}
		again := collect(t, c)
		if again.Commit != r.Commit || !bytes.Equal(again.Patch, r.Patch) {
			t.Errorf("a second time it is %s, not %s", again.Commit, r.Commit)
		}
	})
}

func TestNoChangeIsToldAsSuch(t *testing.T) {
	t.Parallel()
	c := fetchLocal(t, userRepository(t), sandbox.Bubblewrap)
	for _, script := range []string{"true", "echo x > a.log", "touch a.txt; git commit -q --allow-empty -m nothing", "rm -rf .git", "mkdir -p empty/deep", "git init -q new"} {
		agent(t, c, script)
		r := collect(t, c)
		if r.Changed || r.Commit != "" {
			t.Errorf("%s: got %+v", script, r)
		}
	}
	expect(t, c.Deliver(t.Context(), Delivery{URL: "https://host.invalid/x"}), corp.ReasonDelivery, corp.KindConflict, "")
	expect(t, c.Bundle(t.Context(), &bytes.Buffer{}), corp.ReasonDelivery, corp.KindConflict, "")
}

func TestALongPatchIsCutAndSaysSo(t *testing.T) {
	t.Parallel()
	c := fetchLocal(t, userRepository(t), sandbox.Bubblewrap)
	agent(t, c, "seq 100000 > numbers")
	commit := someCommit
	commit.PatchBytes = 1000
	r, err := c.Collect(t.Context(), commit)
	if err != nil || len(r.Patch) != 1000 || !r.PatchTruncated || r.Diffstat.Insertions != 100000 {
		t.Fatalf("got %d bytes, %v, %v", len(r.Patch), r.PatchTruncated, err)
	}
}

// hostile are checkouts that would run "echo > $CANARY" if git believed them.
var hostile = map[string]string{
	"hooks": `mkdir -p .git/hooks; for h in pre-commit post-commit post-checkout post-index-change reference-transaction pre-push prepare-commit-msg commit-msg post-rewrite update post-update; do
		printf '#!/bin/sh\n$RUN\n' > .git/hooks/$h; chmod +x .git/hooks/$h; done; git config core.hooksPath .git/hooks`,
	"fsmonitor":      `git config core.fsmonitor "$RUN; false"`,
	"filters":        `git config filter.x.clean "$RUN; cat"; git config filter.x.smudge "$RUN; cat"; git config filter.x.process "$RUN"; git config filter.x.required true; echo '* filter=x' > .gitattributes`,
	"diff drivers":   `git config diff.external "$RUN"; git config diff.x.command "$RUN"; git config diff.x.textconv "$RUN"; git config core.pager "$RUN"; echo '* diff=x' > .gitattributes`,
	"attributes":     `mkdir -p .git/info; git config filter.y.clean "$RUN; cat"; echo '* filter=y' > .git/info/attributes`,
	"includes":       `printf '[core]\n\tfsmonitor = "$RUN; false"\n' > evil.config; git config include.path ../evil.config; git config includeIf.gitdir:/.path ../evil.config`,
	"ssh and others": `git config core.sshCommand "$RUN"; git config core.askPass "$RUN"; git config credential.helper "!$RUN"; git config core.editor "$RUN"; git config gpg.program "$RUN"; git config commit.gpgSign true; git config url.ext::.insteadOf /; git config core.alternateRefsCommand "$RUN"; git config uploadpack.packObjectsHook "$RUN"; git config protocol.allow always`,
	"work tree":      `git config core.worktree /; git config core.bare true`,
	"alternates":     `mkdir -p .git/objects/info; echo /corp/git/objects > .git/objects/info/alternates`,
	"gitfile":        `mv .git elsewhere; echo 'gitdir: elsewhere' > .git; printf '[core]\n\tfsmonitor = "$RUN; false"\n' >> elsewhere/config`,
	"git link":       `mv .git /tmp/g; ln -s /tmp/g .git`,
	"broken":         `rm -rf .git; printf garbage > .git`,
	"submodule":      `git init -q sub; (cd sub; echo y > y; git add y; git commit -qm y; printf '[core]\n\tfsmonitor = "$RUN; false"\n' >> .git/config); printf '[submodule "sub"]\n\tpath = sub\n\turl = ./sub\n\tupdate = !$RUN\n' > .gitmodules; git config submodule.sub.update "!$RUN"; git add . 2>/dev/null; git commit -qm sub`,
}

// Attack case 63. Control: what it wrote as files is in the result.
func TestNothingThatAnAgentConfiguresIsCarriedOut(t *testing.T) {
	t.Parallel()
	repository := userRepository(t)
	for name, script := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Under none too: there the canary would be reached.
			for _, level := range []sandbox.Level{sandbox.Bubblewrap, sandbox.None} {
				c := fetchLocal(t, repository, level)
				canary := c.profile().Inside(c.place.Folder.Scratch()) + "/canary"
				run := "echo ran >> " + canary
				if level == sandbox.None && name == "git link" {
					script = strings.ReplaceAll(script, "/tmp/g", "$TMPDIR/g")
				}
				agent(t, c, strings.ReplaceAll(script, "$RUN", run)+"; echo done > witness; chmod +x witness")
				_ = os.Remove(filepath.Join(c.place.Folder.Scratch(), "canary")) // the agent's own commands may have set it off
				r := collect(t, c)
				var bundle bytes.Buffer
				if err := c.Bundle(t.Context(), &bundle); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains("\n"+filesOf(t, c, r.Commit)+"\n", "\nwitness\n") {
					t.Errorf("%s: the work is lost: %s", level, filesOf(t, c, r.Commit))
				}
				if _, err := os.Stat(filepath.Join(c.place.Folder.Scratch(), "canary")); err == nil {
					t.Errorf("%s: something was carried out", level)
				}
			}
		})
	}
}

func TestTheHostileCheckoutsWouldWorkOnAPlainGit(t *testing.T) {
	t.Parallel()
	// The positive control: a git that trusts the checkout sets the canary off.
	for _, name := range []string{"hooks", "fsmonitor", "filters", "includes"} {
		dir := userRepository(t)
		canary := filepath.Join(t.TempDir(), "canary")
		sh(t, dir, strings.ReplaceAll(hostile[name], "$RUN", "echo ran >> "+canary)+"; echo x > witness; git add witness || true; git commit -qm x || true")
		if _, err := os.Stat(canary); err != nil {
			t.Errorf("%s: nothing was carried out", name)
		}
	}
}

func TestAnAgentCannotChangeTheTrustedRepository(t *testing.T) {
	t.Parallel()
	c := fetchLocal(t, userRepository(t), sandbox.Bubblewrap)
	out := agent(t, c, "ls /corp; ls /corp/git /corp/scratch 2>/dev/null || true")
	if strings.Contains(out, "git") || strings.Contains(out, "scratch") {
		t.Errorf("the agent sees %q", out)
	}
	_, err := c.inside(t.Context(), shut{}, "sh", "-c", "echo x > /corp/git/planted || echo x >> /corp/git/config || rm -rf /corp/git/objects/pack")
	if _, ok := errors.AsType[*gitError](err); !ok {
		t.Errorf("git's own sandbox can write there: %v", err)
	}
}

func TestNestedRepositoriesBecomePlainFilesAndSubmodulesStay(t *testing.T) {
	t.Parallel()
	bothLevels(t, func(t *testing.T, level sandbox.Level) {
		t.Helper()
		repository := userRepository(t)
		sh(t, repository, `git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),kept && git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),dropped && git commit -qm modules && mkdir kept dropped`)
		c := fetchLocal(t, repository, level)
		agent(t, c, `git init -q full; (cd full; echo f > f; git add f; git commit -qm f; git init -q deeper; echo d > deeper/d)
			git init -q 'no commit
yet'; echo n > 'no commit
yet/n'; mkdir -p ignored; git init -q ignored/dep; echo k > ignored/dep/k
			git init -q src; echo s > src/s; mkdir -p kept; git init -q kept; (cd kept; git commit -q --allow-empty -m other); rmdir dropped 2>/dev/null || true`)
		r := collect(t, c)
		got := filesOf(t, c, r.Commit)
		for _, want := range []string{"full/f", "full/deeper/d", `"no commit\nyet/n"`, "src/s", "src/main.go"} {
			if !strings.Contains("\n"+got+"\n", "\n"+want+"\n") {
				t.Errorf("%s is missing in\n%s", want, got)
			}
		}
		tree, err := c.trusted(t.Context(), nil, "ls-tree", r.Commit)
		if err != nil || !strings.Contains(tree, "160000 commit "+sh(t, repository, "git rev-parse HEAD~1")+"\tkept") || strings.Count(tree, "160000") > 2 {
			t.Errorf("submodules: %s, %v", tree, err)
		}
		agent(t, c, "test -e ignored/dep/.git") // what is not delivered is not touched
	})
}

func TestOddFilesAreKeptOrLeftOutButNeverFollowed(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := fetchLocal(t, userRepository(t), sandbox.Bubblewrap)
	agent(t, c, fmt.Sprintf(`ln -s %s link2; ln -s / root; mkfifo pipe; rm -rf src; ln -s /etc src; echo hidden > closed; chmod 0 closed; mkdir shut; echo x > shut/x; chmod 0 shut
		printf 'bad \377 name' > "$(printf 'bad \377 name')"; printf '%%s' '*.secret' >> .gitignore; echo x > a.secret; mkdir -p 'a b/--help'; echo x > 'a b/--help/-c'`, secret))
	r := collect(t, c)
	if bytes.Contains(r.Patch, []byte("canary")) {
		t.Error("a link was followed")
	}
	got := filesOf(t, c, r.Commit)
	for _, want := range []string{"link2", "root", "src", "closed", "shut/x", `"bad \377 name"`, "a b/--help/-c"} {
		if !strings.Contains("\n"+got+"\n", "\n"+want+"\n") {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	for _, unwanted := range []string{"pipe", "a.secret"} {
		if strings.Contains("\n"+got+"\n", "\n"+unwanted+"\n") {
			t.Errorf("%s is there", unwanted)
		}
	}
}

func TestNamesAndMessagesCannotForgeACommitsHeader(t *testing.T) {
	t.Parallel()
	c := fetchLocal(t, userRepository(t), sandbox.Bubblewrap)
	agent(t, c, "echo x > x")
	r, err := c.Collect(t.Context(), Commit{AuthorName: "Eve <eve@x>\nparent 0", AuthorEmail: "<>\n", Message: "a\x00b\xff\n", At: someCommit.At})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.trusted(t.Context(), nil, "cat-file", "commit", r.Commit)
	if err != nil || !strings.Contains(raw, "author Eve eve@xparent 0 <"+DefaultEmail+"> 1800000000 +0000\n") || !strings.HasSuffix(raw, "\n\nab\uFFFD") {
		t.Errorf("got %q, %v", raw, err)
	}
}

func TestFiveThousandFilesAreCollected(t *testing.T) {
	t.Parallel()
	repository := t.TempDir()
	sh(t, repository, `git init -q . && for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo $d $f > d$d/f$f; done; done; git add . && git commit -qm many`)
	c := fetchLocal(t, repository, sandbox.Bubblewrap)
	agent(t, c, "for d in d1 d2 d3; do for f in $d/*; do echo more >> $f; done; done; rm -r d50")
	r := collect(t, c)
	if r.Diffstat.Files != 400 || r.Diffstat.Insertions != 300 || r.Diffstat.Deletions != 100 {
		t.Errorf("got %d files, +%d -%d", r.Diffstat.Files, r.Diffstat.Insertions, r.Diffstat.Deletions)
	}
}

func TestNumstatOfUnknownFormIsAnError(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"x", "1\t2", "1\t1\t\x00old", "\t"} {
		if _, err := parseNumstat(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
