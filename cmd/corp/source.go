package main

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
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/runner/gitwork"
)

// source is where a task's code comes from, and so where its result goes.
type source struct {
	name  string
	local *gitwork.Local // nil for a remote one
}

func (s *source) String() string { return s.name }

var repositoryName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// findSource completes the spec with the repository that the user named: a path,
// a URL, or the name of a kept repository. A path's base commit is uploaded.
func (o *options) findSource(ctx context.Context, c *client.Client, repo string, spec *corp.TaskSpec) (*source, error) {
	if isPath(repo) {
		return o.uploadBase(ctx, c, repo, spec)
	}
	if repositoryName.MatchString(repo) {
		kept, err := findRepository(ctx, c, repo)
		if corp.KindOf(err) == corp.KindNotFound {
			return nil, usageError{corp.Invalid("repo", fmt.Sprintf("There is no folder and no kept repository %q.", repo), "Give a path, a URL, or a name that \"corp repository list\" shows.")}
		}
		if err != nil {
			return nil, err
		}
		spec.RepositoryID = &kept.ID
		return &source{name: kept.Name + " (" + kept.URL + ")"}, nil
	}
	spec.RepositoryURL = repo
	return &source{name: repo}, nil
}

// uploadBase sends the base commit of a repository on this machine as a bundle:
// the server and the runner never see a path of ours.
func (o *options) uploadBase(ctx context.Context, c *client.Client, repo string, spec *corp.TaskSpec) (*source, error) {
	local, err := gitwork.OpenLocal(ctx, repo)
	if err != nil {
		return nil, namedFlag(err, "repository", "repo")
	}
	base, err := local.Resolve(ctx, spec.Base)
	if err != nil {
		return nil, err
	}
	if base.Dirty {
		_, _ = fmt.Fprintln(o.env.Err, "note: your uncommitted changes are not part of the task; it starts from "+base.Commit[:12])
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(local.Bundle(ctx, base.Commit, writer)) }()
	stored, err := c.UploadSource(ctx, reader)
	_ = reader.CloseWithError(errors.New("the upload ended")) // lets the bundle's writer go
	if err != nil {
		return nil, err
	}
	spec.SourceID, spec.BaseCommit = &stored.ID, base.Commit
	path, err := filepath.Abs(repo)
	if err != nil {
		path = repo
	}
	return &source{name: fmt.Sprintf("%s at %s", path, base.Commit[:12]), local: local}, nil
}

// namedFlag names the field of an error as the command line does.
func namedFlag(err error, field, flag string) error {
	if e, ok := errors.AsType[*corp.Error](err); ok && e.Field == field {
		renamed := *e
		renamed.Field = flag
		return usageError{&renamed}
	}
	return err
}

// fetch takes the result into the repository that the task came from, as a
// branch of its own.
func (s *source) fetch(ctx context.Context, c *client.Client, r *runResult) (err error) {
	if s.local == nil || r.resultID == nil || r.Branch == "" {
		return nil
	}
	bundle, err := os.CreateTemp("", "corp-result-*.bundle")
	if err != nil {
		return fmt.Errorf("keep the result: %w", err)
	}
	defer func() {
		err = errors.Join(err, os.Remove(bundle.Name()))
	}()
	body, err := c.Blob(ctx, *r.resultID)
	if err != nil {
		return errors.Join(err, bundle.Close())
	}
	_, err = io.Copy(bundle, body)
	if err = errors.Join(err, body.Close(), bundle.Close()); err != nil {
		return fmt.Errorf("download the result: %w", err)
	}
	return s.local.FetchResult(ctx, bundle.Name(), r.Branch)
}

// where says where the branch of a result is.
func (s *source) where(r runResult) string {
	switch {
	case r.pushed:
		return "(pushed)"
	case s.local != nil && r.resultID != nil:
		return "(in your repository; git diff ..." + strings.TrimSpace(r.Branch) + ")"
	default:
		return ""
	}
}
