package gitwork

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/genericcorp/corp"
)

// Checkout is a run's source: the trusted repository with the base commit, and
// the agent's own clone of it.
type Checkout struct {
	place    Place
	base     string
	warnings []string
}

// Base returns the id of the base commit.
func (c *Checkout) Base() string { return c.base }

// Branch returns the name of the branch that will carry the result, without
// refs/heads/.
func (c *Checkout) Branch() string { return corp.BranchOf(c.place.Task) }

// Warnings returns sentences about what the checkout does not hold, such as
// files in Git LFS or submodules.
func (c *Checkout) Warnings() []string { return c.warnings }

// Fetch brings the base commit to the place and makes the agent's clone of it.
// Errors have the reasons repository (unreachable, refused, not allowed), base
// (no such branch, tag or commit), disk_full or sandbox.
func Fetch(ctx context.Context, place Place, source Source) (*Checkout, error) {
	c := &Checkout{place: place}
	if err := checkBase(source.Base); err != nil {
		return nil, err
	}
	if (source.URL == "") == (source.Bundle == "") {
		return nil, badRepository("A run needs a repository's address or a bundle, one of the two.")
	}
	if _, err := c.trusted(ctx, nil, "init", "--quiet", "--bare", "--template="); err != nil {
		return nil, explain(fmt.Errorf("make trusted repository: %w", err), corp.ReasonRepository)
	}
	if err := c.writeGlobalConfig(); err != nil {
		return nil, err
	}
	if err := c.bring(ctx, source); err != nil {
		return nil, err
	}
	if err := c.clone(ctx); err != nil {
		return nil, explain(fmt.Errorf("make checkout: %w", err), corp.ReasonRepository)
	}
	return c, c.findWarnings(ctx)
}

func (c *Checkout) bring(ctx context.Context, source Source) error {
	var err error
	if source.Bundle != "" {
		err = c.fromBundle(ctx, source)
	} else {
		var r remote
		if r, err = checkURL(source.URL, source.Credential); err == nil {
			err = c.fromRemote(ctx, r, source.Base)
		}
	}
	if err != nil {
		return explain(err, corp.ReasonRepository)
	}
	c.base, err = c.trusted(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", baseRef+"^{commit}")
	if err != nil {
		return badBase(source.Base, "%q is not a commit.")
	}
	_, err = c.trusted(ctx, nil, "update-ref", baseRef, c.base)
	return explain(err, corp.ReasonRepository)
}

func (c *Checkout) fromRemote(ctx context.Context, r remote, base string) error {
	listing, err := c.talk(ctx, r, "ls-remote", "--", theRemote)
	if err != nil {
		return fmt.Errorf("list remote: %w", err)
	}
	if listing == "" {
		return badBase(base, "The repository is empty, so there is no commit to start from (base %q).")
	}
	if ref, ok := findRef(listing, base); ok {
		_, err := c.talk(ctx, r, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--", theRemote, "+"+ref+":"+baseRef)
		if err != nil {
			return fmt.Errorf("fetch base: %w", err)
		}
		return nil
	}
	if !shortID.MatchString(base) {
		return badBase(base, "The repository has no branch, tag or commit %q.")
	}
	return c.fetchCommit(ctx, r, base)
}

// findRef returns the ref that a base means. A branch comes before a tag of the
// same name: people mean the branch.
func findRef(listing, base string) (string, bool) {
	if base == "" {
		base = "HEAD"
	}
	have := map[string]bool{}
	for line := range strings.SplitSeq(listing, "\n") {
		if _, ref, ok := strings.Cut(line, "\t"); ok {
			have[ref] = true
		}
	}
	for _, ref := range []string{"refs/heads/" + base, "refs/tags/" + base, base, "refs/" + base} {
		if have[ref] {
			return ref, true
		}
	}
	return "", false
}

// fetchCommit fetches one commit by its id. A server that does not serve single
// commits, or a shortened id, costs a fetch of all branches and tags.
func (c *Checkout) fetchCommit(ctx context.Context, r remote, id string) error {
	if fullID.MatchString(id) {
		_, err := c.talk(ctx, r, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--", theRemote, "+"+id+":"+baseRef)
		if err == nil {
			return nil
		}
		if _, ok := errors.AsType[*gitError](err); !ok {
			return err
		}
	}
	_, err := c.talk(ctx, r, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", theRemote,
		"+refs/heads/*:refs/corp/remote/heads/*", "+refs/tags/*:refs/corp/remote/tags/*")
	if err != nil {
		return fmt.Errorf("fetch all: %w", err)
	}
	commit, err := c.trusted(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", id+"^{commit}")
	if err != nil {
		return badBase(id, "The repository has no branch, tag or commit %q.")
	}
	_, err = c.trusted(ctx, nil, "update-ref", baseRef, commit)
	return err
}

// fromBundle unpacks an uploaded bundle. It holds one commit without its
// history, which is then marked as the history's edge.
func (c *Checkout) fromBundle(ctx context.Context, source Source) error {
	bad := func(err error) error {
		e := problem(corp.ReasonRepository, corp.KindInvalid, "bundle", "The uploaded bundle cannot be read.", "Upload it again with corp run.")
		e.Err = err
		return e
	}
	if info, err := os.Lstat(source.Bundle); err != nil || !info.Mode().IsRegular() || !filepath.IsAbs(source.Bundle) {
		return bad(err)
	}
	heads, err := c.trusted(ctx, nil, "bundle", "unbundle", source.Bundle)
	if git, ok := errors.AsType[*gitError](err); ok && !git.says("no space left") {
		return bad(err)
	}
	if err != nil {
		return err
	}
	commit, ref, _ := strings.Cut(heads, " ")
	if !fullID.MatchString(commit) || ref != baseRef {
		return bad(fmt.Errorf("it holds %d refs besides the base", strings.Count(heads, "\n")))
	}
	if source.Base != "" && source.Base != commit {
		return badBase(source.Base, "The bundle holds another commit than %q.")
	}
	//nolint:gosec // G306: the sandbox reads it as another user; the run's folder is 0700
	if err := os.WriteFile(filepath.Join(c.place.Folder.Git(), "shallow"), []byte(commit+"\n"), 0o644); err != nil {
		return fmt.Errorf("unpack bundle: %w", err)
	}
	if _, err := c.trusted(ctx, nil, "rev-list", "--objects", "--quiet", commit); err != nil {
		return bad(err)
	}
	_, err = c.trusted(ctx, nil, "update-ref", baseRef, commit)
	return err
}

// cloneScript gets the trusted repository, the base's ref, the branch and the
// agent's address as $1 to $4.
const cloneScript = `set -e
git init --quiet --template= --initial-branch="$3" .
git fetch --quiet --no-tags --update-shallow --update-head-ok --no-write-fetch-head "$1" "+$2:refs/heads/$3"
git reset --quiet --hard
git config user.name 'Generic Corp'
git config user.email "$4"
`

// clone makes the agent's repository in the sandbox: objects of its own, no
// remote, no credential, the base checked out on the result's branch.
func (c *Checkout) clone(ctx context.Context) error {
	source := c.profile().Inside(c.place.Folder.Git())
	_, err := c.inside(ctx, shut{config: fromFile}, "sh", "-c", cloneScript, "clone", source, baseRef, c.Branch(), DefaultEmail)
	return err
}

// findWarnings looks for what the checkout cannot hold.
func (c *Checkout) findWarnings(ctx context.Context) error {
	_, err := c.trusted(ctx, nil, "grep", "--quiet", "-e", "filter=lfs", c.base, "--", ":(glob)**/.gitattributes")
	if err == nil {
		c.warnings = append(c.warnings, "The repository keeps files in Git LFS, which is not supported: the checkout holds their pointers.")
	} else if git, ok := errors.AsType[*gitError](err); !ok || git.code != 1 {
		return fmt.Errorf("look for LFS: %w", err)
	}
	links, err := c.gitlinks(ctx)
	if err != nil {
		return err
	}
	if len(links) > 0 {
		c.warnings = append(c.warnings, "The repository has submodules, which are not fetched: their folders are empty and stay as they are.")
	}
	return nil
}
