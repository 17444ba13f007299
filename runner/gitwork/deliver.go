package gitwork

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/genericcorp/corp"
)

// Delivery says where the result's branch is pushed.
type Delivery struct {
	URL        string
	Credential Credential

	// Again says that the task has had runs before this one. What one of them
	// delivered may then be replaced; without it the branch must be new.
	Again bool
}

// Deliver pushes the branch that Collect made, and nothing else. A branch that
// is already there with this commit is success, so that a step whose answer was
// lost can be repeated; one with somebody else's commit is a conflict. Errors
// have the reason delivery.
func (c *Checkout) Deliver(ctx context.Context, d Delivery) error {
	r, err := checkURL(d.URL, d.Credential)
	if err != nil {
		return err
	}
	ref := "refs/heads/" + c.Branch()
	commit, err := c.trusted(ctx, nil, "rev-parse", "--verify", "--quiet", ref)
	if err != nil {
		return nothingToDeliver()
	}
	there, err := c.remoteCommit(ctx, r, ref)
	if err != nil {
		return explain(fmt.Errorf("deliver branch: %w", err), corp.ReasonDelivery)
	}
	if there == commit {
		return nil
	}
	if there != "" && (!d.Again || !c.deliveredBefore(ctx, r, ref, there)) {
		return branchTaken(c.Branch())
	}
	_, err = c.talk(ctx, r, "push", "--quiet", "--porcelain", "--no-verify", "--force-with-lease="+ref+":"+there, "--", theRemote, ref+":"+ref)
	if err != nil {
		return c.pushFailed(err)
	}
	return nil
}

// deliveredBefore says whether the commit on the remote's branch is an earlier
// run's result: a commit of ours with one parent. A person's own work on
// that branch is not, and is never replaced.
func (c *Checkout) deliveredBefore(ctx context.Context, r remote, ref, commit string) bool {
	const kept = "refs/corp/delivered"
	if _, err := c.talk(ctx, r, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--", theRemote, "+"+ref+":"+kept); err != nil {
		return false
	}
	text, err := c.trusted(ctx, nil, "cat-file", "commit", kept)
	if err != nil {
		return false
	}
	if at, err := c.trusted(ctx, nil, "rev-parse", "--verify", "--quiet", kept); err != nil || at != commit {
		return false
	}
	header, _, _ := strings.Cut(text, "\n\n")
	for line := range strings.SplitSeq(header, "\n") {
		if who, ok := strings.CutPrefix(line, "committer "); ok {
			return strings.Contains(who, " <"+DefaultEmail+"> ") && strings.Count(header, "\nparent ") == 1
		}
	}
	return false
}

func (c *Checkout) remoteCommit(ctx context.Context, r remote, ref string) (string, error) {
	listing, err := c.talk(ctx, r, "ls-remote", "--", theRemote, ref)
	if err != nil {
		return "", err
	}
	for line := range strings.SplitSeq(listing, "\n") {
		if id, name, ok := strings.Cut(line, "\t"); ok && name == ref {
			return id, nil
		}
	}
	return "", nil
}

// pushFailed tells a server that refuses the branch from one that does not answer.
func (c *Checkout) pushFailed(err error) error {
	git, ok := errors.AsType[*gitError](err)
	switch {
	case !ok:
		return fmt.Errorf("deliver branch: %w", err)
	case git.says("stale info", "non-fast-forward", "fetch first", "already exists", "cannot lock ref"):
		taken := branchTaken(c.Branch())
		taken.Err = err
		return taken
	case git.says("remote rejected", "pre-receive hook declined", "protected branch", "shallow update not allowed", "failed to push"):
		e := problem(corp.ReasonDelivery, corp.KindConflict, "repository", "The repository refused the branch "+c.Branch()+".", "Allow branches under corp/ to be pushed with this credential, and look at the repository's own rules.")
		e.Err = err
		return e
	default:
		return explain(fmt.Errorf("deliver branch: %w", err), corp.ReasonDelivery)
	}
}

func nothingToDeliver() *corp.Error {
	return problem(corp.ReasonDelivery, corp.KindConflict, "", "There is no result to deliver.", "Collect a changed checkout first.")
}

func branchTaken(branch string) *corp.Error {
	return problem(corp.ReasonDelivery, corp.KindConflict, "branch", fmt.Sprintf("The branch %s already holds other commits.", branch), "Rename or delete that branch, then run the task again.")
}

// Bundle writes the result as a bundle of base..branch, for FetchResult. Errors
// have the reason delivery.
func (c *Checkout) Bundle(ctx context.Context, w io.Writer) error {
	ref := "refs/heads/" + c.Branch()
	if _, err := c.trusted(ctx, nil, "rev-parse", "--verify", "--quiet", ref); err != nil {
		return nothingToDeliver()
	}
	f := c.place.Folder
	_, err := git(ctx, call{dir: f.Git(), home: f.Root(), stdout: w}, "--git-dir="+f.Git(), "bundle", "create", "--quiet", "-", "^"+c.base, ref)
	if err != nil {
		return explain(fmt.Errorf("bundle result: %w", err), corp.ReasonDelivery)
	}
	return nil
}
