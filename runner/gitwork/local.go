package gitwork

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/genericcorp/corp"
)

// Local is a repository on the user's machine, as the command line sees it.
// Nothing here changes its files, index, HEAD or refs, but for the one branch
// that FetchResult makes.
type Local struct {
	gitDir   string // of the work tree; holds HEAD and the index
	common   string // of the repository; holds objects and refs
	workTree string // empty for a bare repository
}

// OpenLocal finds the repository that path, a folder, belongs to. A path that
// is no repository is an invalid error with Field "repository".
func OpenLocal(ctx context.Context, path string) (*Local, error) {
	notThere := problem(corp.ReasonRepository, corp.KindInvalid, "repository", fmt.Sprintf("%q is not in a git repository.", path), "Pass a folder under git, or run git init and commit something first.")
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, notThere
	}
	if info, err := os.Stat(abs); err != nil || !info.IsDir() {
		return nil, notThere
	}
	l := &Local{}
	// One question at a time: a path may hold a line break.
	ask := func(question string) (answer string) {
		if err == nil {
			answer, err = git(ctx, call{dir: abs, home: "/"}, "rev-parse", "--path-format=absolute", question)
		}
		return answer
	}
	l.gitDir, l.common = ask("--git-dir"), ask("--git-common-dir")
	if ask("--is-inside-work-tree") == "true" {
		l.workTree = ask("--show-toplevel")
	}
	if err != nil {
		notThere.Err = err
		return nil, notThere
	}
	return l, nil
}

// Base is the commit that a task starts from.
type Base struct {
	Commit string
	Dirty  bool // the work tree differs from HEAD, and those changes will not be in the task
}

// Resolve returns the commit that ref (empty is HEAD) names. Any expression
// that git knows is allowed here: it is the user's own repository.
func (l *Local) Resolve(ctx context.Context, ref string) (Base, error) {
	if ref == "" {
		ref = "HEAD"
	}
	commit, err := l.git(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if err != nil && ref == "HEAD" {
		return Base{}, badBase(ref, "The repository has no commit yet, so there is nothing to start from (base %q).")
	}
	if err != nil {
		return Base{}, badBase(ref, "The repository has no branch, tag or commit %q.")
	}
	dirty, err := l.dirty(ctx)
	return Base{Commit: commit, Dirty: dirty}, err
}

// Bundle writes a bundle that holds exactly one commit with its files and no
// history: what the agent needs, and nothing that was once deleted. The commit
// is an id that Resolve returned. The user's repository is only read.
func (l *Local) Bundle(ctx context.Context, commit string, w io.Writer) error {
	if !fullID.MatchString(commit) {
		return badBase(commit, "%q is not a full commit id.")
	}
	return l.borrow(ctx, func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "shallow"), []byte(commit+"\n"), 0o600); err != nil {
			return fmt.Errorf("bundle base: %w", err)
		}
		c := call{dir: dir, home: dir, stdout: w}
		if _, err := git(ctx, call{dir: dir, home: dir}, "update-ref", baseRef, commit); err != nil {
			return badBase(commit, "The repository does not have the commit %s.")
		}
		if _, err := git(ctx, c, "bundle", "create", "--quiet", "-", baseRef); err != nil {
			e := problem(corp.ReasonRepository, corp.KindInvalid, "repository", "Not all files of the base commit are in this repository.", "In a partial clone fetch them first (git fetch --refetch); otherwise run git fsck.")
			e.Err = err
			return e
		}
		return nil
	})
}

// resultBranch is the only kind of branch that FetchResult writes.
var resultBranch = regexp.MustCompile(`^corp/[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// FetchResult takes a result's bundle (a file) into the branch of its task,
// "corp/<task>". It touches nothing else: no work tree, index, HEAD, other ref
// or tag. A branch that is already there may only move forward; one that holds
// other commits, or is checked out, is a conflict.
func (l *Local) FetchResult(ctx context.Context, bundle, branch string) error {
	if !resultBranch.MatchString(branch) || strings.HasSuffix(branch, ".lock") || strings.HasSuffix(branch, ".") || strings.Contains(branch, "..") {
		return problem(corp.ReasonDelivery, corp.KindInvalid, "branch", fmt.Sprintf("%q is not the branch of a task.", branch), "It is corp/ and the task's id.")
	}
	ref := "refs/heads/" + branch
	bundle, err := filepath.Abs(bundle)
	if err != nil {
		return fmt.Errorf("fetch result: %w", err)
	}
	config := append([]setting{{"fetch.fsckObjects", "true"}, {"fetch.prune", "false"}, {"fetch.pruneTags", "false"}}, fromFile...)
	// Not --quiet, which would hide why a branch is not moved.
	_, err = l.git(ctx, config, "fetch", "--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--no-recurse-submodules", "--", bundle, ref+":"+ref)
	failed, ok := errors.AsType[*gitError](err)
	switch {
	case err == nil:
		return nil
	case ok && failed.says("non-fast-forward", "rejected", "refusing to fetch into", "cannot lock ref"):
		taken := branchTaken(branch)
		taken.Err = err
		return taken
	case ok && failed.says("lacks these prerequisite"):
		e := problem(corp.ReasonDelivery, corp.KindConflict, "repository", "This repository does not have the commit that the task started from.", "Run the command in the repository that the task was given.")
		e.Err = err
		return e
	default:
		return explain(fmt.Errorf("fetch result: %w", err), corp.ReasonDelivery)
	}
}

// git runs git on the user's repository without its work tree.
func (l *Local) git(ctx context.Context, config []setting, args ...string) (string, error) {
	return git(ctx, call{dir: l.gitDir, home: "/", config: config, env: []string{"GIT_DIR=" + l.gitDir}}, args...)
}

// dirty says whether tracked files differ from HEAD or untracked ones are
// there. It looks with a copy of the index and without the repository's
// configuration, so that no filter or monitor of it runs and nothing is
// written.
func (l *Local) dirty(ctx context.Context) (bool, error) {
	if l.workTree == "" {
		return false, nil
	}
	head, err := l.git(ctx, nil, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if err != nil {
		return true, nil //nolint:nilerr // no commit yet: whatever is there is not in one
	}
	var status string
	err = l.borrow(ctx, func(dir string) error {
		if err := l.copyState(dir, head); err != nil {
			return err
		}
		status, err = git(ctx, call{dir: l.workTree, home: dir, env: []string{"GIT_DIR=" + dir, "GIT_WORK_TREE=" + l.workTree}},
			"status", "--porcelain", "-z", "--ignore-submodules=all", "--untracked-files=normal")
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for uncommitted changes: %w", err)
	}
	return status != "", nil
}

// copyState gives a borrowed repository this one's index, HEAD and excludes.
func (l *Local) copyState(dir, head string) error {
	if err := os.Mkdir(filepath.Join(dir, "info"), 0o700); err != nil {
		return fmt.Errorf("copy state: %w", err)
	}
	for from, to := range map[string]string{filepath.Join(l.gitDir, "index"): "index", filepath.Join(l.common, "info", "exclude"): "info/exclude"} {
		content, err := os.ReadFile(from)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		//nolint:gosec // G703: both names are constants below folders that git named
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, to), content, 0o600)); err != nil {
			return fmt.Errorf("copy state: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "HEAD"), []byte(head+"\n"), 0o600); err != nil {
		return fmt.Errorf("copy state: %w", err)
	}
	return nil
}

// borrow calls use with a fresh bare repository that reads this one's objects,
// and removes it afterwards.
func (l *Local) borrow(ctx context.Context, use func(dir string) error) error {
	dir, err := os.MkdirTemp("", "corp-git-")
	if err != nil {
		return fmt.Errorf("borrow repository: %w", err)
	}
	err = l.lend(ctx, dir)
	if err == nil {
		err = use(dir)
	}
	if removeErr := os.RemoveAll(dir); err == nil && removeErr != nil {
		return fmt.Errorf("borrow repository: %w", removeErr)
	}
	return err
}

func (l *Local) lend(ctx context.Context, dir string) error {
	format, err := l.git(ctx, nil, "rev-parse", "--show-object-format")
	if err != nil {
		return fmt.Errorf("borrow repository: %w", err)
	}
	if _, err := git(ctx, call{dir: dir, home: dir}, "init", "--quiet", "--bare", "--template=", "--object-format="+format, dir); err != nil {
		return fmt.Errorf("borrow repository: %w", err)
	}
	line := quote(filepath.Join(l.common, "objects")) + "\n"
	if err := os.MkdirAll(filepath.Join(dir, "objects", "info"), 0o700); err != nil {
		return fmt.Errorf("borrow repository: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "objects", "info", "alternates"), []byte(line), 0o600); err != nil {
		return fmt.Errorf("borrow repository: %w", err)
	}
	return nil
}

// quote writes a path as git reads it back, whatever bytes it holds.
func quote(path string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(path) {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			fmt.Fprintf(&b, "\\%03o", c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
