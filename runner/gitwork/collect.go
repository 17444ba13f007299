package gitwork

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/sandbox"
)

// DefaultEmail is the address of commits that name no other; it can never exist.
const DefaultEmail = "agents@generic-corp.invalid"

// DefaultPatchBytes is how much of a patch Collect keeps when it is not told.
const DefaultPatchBytes = 8 << 20

// maxNesting bounds how many layers of repositories within repositories are
// opened; an agent that makes more has them left out.
const maxNesting = 32

// Commit is what Collect writes beside the files.
type Commit struct {
	AuthorName  string    // such as "Generic Corp Sable"
	AuthorEmail string    // empty is DefaultEmail
	Message     string    // the whole message
	At          time.Time // author's and committer's date
	PatchBytes  int       // most bytes of Result.Patch; 0 is DefaultPatchBytes
}

// Result is what an agent's work comes to.
type Result struct {
	Changed        bool     // false: the files are those of the base, and the rest is empty
	Base           string   // id of the base commit
	Commit         string   // id of the one commit on top of it
	Branch         string   // name without refs/heads/
	Diffstat       Diffstat // what changed from Base to Commit
	Patch          []byte   // git's binary-safe patch; git apply takes it
	PatchTruncated bool     // Patch is only the beginning
}

// Collect turns the files in the checkout, as they are now, into one commit on
// the base, whatever the agent did with its own repository. Files that
// .gitignore names are left out; a repository within the checkout is taken as
// plain files (its .git is removed); submodules stay as they were. It may be
// called again, and then replaces what it made before.
func (c *Checkout) Collect(ctx context.Context, commit Commit) (Result, error) {
	result, err := c.collect(ctx, commit)
	if err != nil {
		return Result{}, explain(fmt.Errorf("collect result: %w", err), corp.ReasonInternal)
	}
	return result, nil
}

func (c *Checkout) collect(ctx context.Context, commit Commit) (Result, error) {
	result := Result{Base: c.base, Branch: c.Branch()}
	if err := c.prepareScratch(ctx); err != nil {
		return result, err
	}
	tree, err := c.snapshot(ctx)
	if err != nil {
		return result, err
	}
	baseTree, err := c.trusted(ctx, nil, "rev-parse", "--verify", c.base+"^{tree}")
	if err != nil || tree == baseTree {
		return result, err
	}
	result.Changed = true
	if result.Commit, err = c.commit(ctx, tree, commit); err != nil {
		return result, err
	}
	if result.Diffstat, err = c.diffstat(ctx, result.Commit); err != nil {
		return result, err
	}
	if result.Patch, result.PatchTruncated, err = c.patch(ctx, result.Commit, commit.PatchBytes); err != nil {
		return result, err
	}
	return result, c.bringBack(ctx, result.Commit)
}

// scratch runs git in the sandbox on a repository in the scratch folder, which
// borrows the trusted one's objects, with the checkout as its work tree. Of the
// checkout's own .git nothing is read.
func (c *Checkout) scratch(ctx context.Context, s shut, args ...string) (string, error) {
	p := c.profile()
	s.env = append(s.env, "GIT_DIR="+p.Inside(c.scratchRepository()), "GIT_WORK_TREE="+p.Inside(c.place.Folder.Checkout()))
	return c.inside(ctx, s, append([]string{"git"}, args...)...)
}

func (c *Checkout) scratchRepository() string {
	return filepath.Join(c.place.Folder.Scratch(), "collect")
}

// prepareScript gets the scratch repository, the trusted one and the base as $1
// to $3.
const prepareScript = `set -e
rm -rf -- "$1" "$1.bundle"
git init --quiet --bare --template= -- "$1"
mkdir -p -- "$1/objects/info"
printf '%s/objects\n' "$2" > "$1/objects/info/alternates"
if test -f "$2/shallow"; then cp -- "$2/shallow" "$1/shallow"; fi
git --git-dir="$1" read-tree "$3"
`

func (c *Checkout) prepareScratch(ctx context.Context) error {
	p := c.profile()
	_, err := c.inside(ctx, shut{}, "sh", "-c", prepareScript, "prepare", p.Inside(c.scratchRepository()), p.Inside(c.place.Folder.Git()), c.base)
	return err
}

// snapshot returns the tree of the checkout's files.
func (c *Checkout) snapshot(ctx context.Context) (string, error) {
	if err := c.openNested(ctx); err != nil {
		return "", err
	}
	_, err := c.scratch(ctx, shut{}, "add", "--all", "--", ".")
	if git, ok := errors.AsType[*gitError](err); ok && git.says("permission denied", "unable to read", "could not open") {
		// The agent closed files to itself; they are its user's all the same.
		if _, err := c.inside(ctx, shut{}, "chmod", "-R", "u+rwX", "--", "."); err != nil {
			return "", err
		}
		_, err = c.scratch(ctx, shut{}, "add", "--all", "--", ".")
	}
	if err != nil {
		return "", unreadable(err)
	}
	if err := c.keepGitlinks(ctx); err != nil {
		return "", err
	}
	return c.scratch(ctx, shut{}, "write-tree")
}

// unreadable says what a person can do about files that git will not take.
func unreadable(err error) error {
	git, ok := errors.AsType[*gitError](err)
	if !ok || git.says("no space left", "quota exceeded") {
		return err
	}
	return &corp.Error{
		Kind: corp.KindConflict, Code: string(corp.ReasonDelivery),
		Message: "The agent left files that git cannot keep.", Hint: "See the run's log for their names, and tell the agent not to make them.", Err: err,
	}
}

// openNested makes plain folders of repositories that the agent made within
// the checkout, because git would record only the id of their commit.
func (c *Checkout) openNested(ctx context.Context) error {
	for range maxNesting {
		listing, err := c.scratch(ctx, shut{}, "ls-files", "-z", "--others", "--exclude-standard")
		if err != nil {
			return err
		}
		var nested strings.Builder
		for path := range strings.SplitSeq(listing, "\x00") {
			if strings.HasSuffix(path, "/") {
				nested.WriteString("./" + path + ".git\x00")
			}
		}
		if nested.Len() == 0 {
			return nil
		}
		if _, err := c.inside(ctx, shut{stdin: strings.NewReader(nested.String())}, "xargs", "-0", "rm", "-rf", "--"); err != nil {
			return err
		}
	}
	return nil
}

// gitlinks returns the entries of the base that are submodules, as lines of
// update-index --index-info by path.
func (c *Checkout) gitlinks(ctx context.Context) (map[string]string, error) {
	listing, err := c.trusted(ctx, nil, "ls-tree", "-r", "-z", "--full-tree", c.base)
	if err != nil {
		return nil, fmt.Errorf("list submodules: %w", err)
	}
	return linksOf(listing, func(meta []string) string { return meta[2] }), nil
}

// linksOf picks the submodules out of "mode … TAB path NUL" records.
func linksOf(listing string, id func(meta []string) string) map[string]string {
	links := map[string]string{}
	for record := range strings.SplitSeq(listing, "\x00") {
		meta, path, ok := strings.Cut(record, "\t")
		if fields := strings.Fields(meta); ok && len(fields) >= 3 && fields[0] == "160000" {
			links[path] = id(fields)
		}
	}
	return links
}

// keepGitlinks sets submodules back to the commit that the base names, and
// drops ones that the agent managed to add. Removing one is a change like any.
func (c *Checkout) keepGitlinks(ctx context.Context) error {
	before, err := c.gitlinks(ctx)
	if err != nil {
		return err
	}
	staged, err := c.scratch(ctx, shut{}, "ls-files", "-z", "--stage")
	if err != nil {
		return err
	}
	var fix strings.Builder
	for path, id := range linksOf(staged, func(meta []string) string { return meta[1] }) {
		if old, was := before[path]; !was {
			fmt.Fprintf(&fix, "0 %s\t%s\x00", id, path)
		} else if old != id {
			fmt.Fprintf(&fix, "160000 %s\t%s\x00", old, path)
		}
	}
	if fix.Len() == 0 {
		return nil
	}
	_, err = c.scratch(ctx, shut{stdin: strings.NewReader(fix.String())}, "update-index", "-z", "--index-info")
	return err
}

// commit writes the commit and the branch in the scratch repository.
func (c *Checkout) commit(ctx context.Context, tree string, commit Commit) (string, error) {
	email := commit.AuthorEmail
	if email == "" {
		email = DefaultEmail
	}
	name, email := identity(commit.AuthorName, "Generic Corp"), identity(email, DefaultEmail)
	date := strconv.FormatInt(commit.At.Unix(), 10) + " +0000"
	id, err := c.scratch(ctx, shut{
		config: []setting{{"i18n.commitEncoding", "UTF-8"}},
		stdin:  strings.NewReader(strings.ReplaceAll(strings.ToValidUTF8(commit.Message, "\uFFFD"), "\x00", "")),
		env: []string{
			"GIT_AUTHOR_NAME=" + name, "GIT_AUTHOR_EMAIL=" + email, "GIT_AUTHOR_DATE=" + date,
			"GIT_COMMITTER_NAME=" + name, "GIT_COMMITTER_EMAIL=" + email, "GIT_COMMITTER_DATE=" + date,
		},
	}, "commit-tree", tree, "-p", c.base, "-F", "-")
	if err != nil {
		return "", err
	}
	_, err = c.scratch(ctx, shut{}, "update-ref", "refs/heads/"+c.Branch(), id)
	return id, err
}

// identity makes a name safe for a commit's header.
func identity(s, otherwise string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '<' || r == '>' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if s = strings.TrimSpace(s); strings.Trim(s, ".,:;\"'\\ ") == "" {
		return otherwise
	}
	return s
}

// bringBack carries the result over into the trusted repository: as a bundle,
// whose objects git checks, and only if it is the one commit that it should be.
func (c *Checkout) bringBack(ctx context.Context, commit string) error {
	ref, bundle := "refs/heads/"+c.Branch(), c.scratchRepository()+".bundle"
	if _, err := c.scratch(ctx, shut{}, "bundle", "create", "--quiet", c.profile().Inside(bundle), "^"+c.base, ref); err != nil {
		return err
	}
	info, err := os.Lstat(bundle)
	if err != nil || !info.Mode().IsRegular() {
		return errors.Join(errors.New("the result's bundle is no file"), err)
	}
	config := append([]setting{{"fetch.fsckObjects", "true"}}, fromFile...)
	if _, err := c.trusted(ctx, config, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", bundle, "+"+ref+":"+ref); err != nil {
		if git, ok := errors.AsType[*gitError](err); ok && git.says("fsck") {
			return unreadable(err)
		}
		return err
	}
	got, err := c.trusted(ctx, nil, "rev-list", "--parents", "--max-count=1", ref)
	if err != nil {
		return err
	}
	if got != commit+" "+c.base {
		return &corp.Error{Kind: corp.KindInternal, Code: string(corp.ReasonSandbox), Message: "The sandbox returned another commit than it reported.", Hint: "Do not trust this run; look at its log."}
	}
	return nil
}

// patch returns the patch from the base to the commit, or its beginning.
func (c *Checkout) patch(ctx context.Context, commit string, size int) ([]byte, bool, error) {
	if size <= 0 {
		size = DefaultPatchBytes
	}
	out := sandbox.NewCapped(size, 0)
	_, err := c.scratch(ctx, shut{stdout: out}, "diff-tree", "-r", "-p", "--binary", "--full-index", "-M", "--no-ext-diff", "--no-textconv", c.base, commit)
	if err != nil {
		return nil, false, err
	}
	return out.Head(), out.Omitted() > 0, nil
}
