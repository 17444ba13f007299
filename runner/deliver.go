package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/gitwork"
)

const (
	pushTries = 3
	// maxPaths is how many files a diffstat names.
	maxPaths = 200
)

// deliver brings the result to where it belongs and puts it on record: a branch
// on the remote, or a bundle for whoever submitted the task, and always a patch.
// What an agent did not finish, and what cannot be pushed, is kept as a bundle,
// so that a person can look at it.
func (run *run) deliver(ctx context.Context, checkout *gitwork.Checkout, result gitwork.Result, outcome corp.Outcome) corp.Outcome {
	outcome.Branch, outcome.Commit, outcome.Diffstat = result.Branch, result.Commit, diffstat(result.Diffstat)
	patch, err := run.upload(ctx, corp.BlobPatch, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(result.Patch)), nil })
	if err != nil {
		return run.undelivered(outcome, err)
	}
	outcome.PatchID = &patch.ID
	var refused error
	finished := outcome.State == corp.RunSucceeded || outcome.Reason == corp.ReasonCheckFailed
	if run.offer.Spec.SourceID == nil && finished {
		refused = run.push(ctx, checkout)
		outcome.Pushed = refused == nil
	}
	if outcome.Pushed {
		run.story.note("Pushed " + result.Branch + " at " + result.Commit + ".")
		return outcome
	}
	id, err := run.uploadBundle(ctx, checkout)
	if err != nil {
		return run.undelivered(outcome, err)
	}
	outcome.ResultID = id
	if refused != nil && run.offer.Credential != nil {
		return run.undelivered(outcome, refused)
	}
	if refused != nil {
		run.logger.InfoContext(ctx, "the branch was kept as a bundle", slog.Any("error", refused))
		run.story.note("The branch could not be pushed without a credential; it is kept as a bundle.")
	}
	return outcome
}

// undelivered turns a success into a failed delivery, and leaves a failure what
// it is. What was delivered so far stays on record.
func (run *run) undelivered(outcome corp.Outcome, err error) corp.Outcome {
	if outcome.State != corp.RunSucceeded {
		run.logger.WarnContext(run.held, "the result was not delivered", slog.Any("error", err))
		return outcome
	}
	reason := gitwork.ReasonOf(err)
	if reason == corp.ReasonInternal || reason == corp.ReasonRepository {
		reason = corp.ReasonDelivery
	}
	failed := run.failure(err, reason)
	outcome.State, outcome.Reason, outcome.Detail = failed.State, failed.Reason, failed.Detail
	return outcome
}

// push delivers the branch; a remote that is away for a moment is asked again.
func (run *run) push(ctx context.Context, checkout *gitwork.Checkout) error {
	delivery := gitwork.Delivery{URL: run.repositoryURL(), Credential: run.credential(), Again: run.offer.Attempt > 1 || run.offer.Epoch > 1}
	var pause pause
	for try := 1; ; try++ {
		err := checkout.Deliver(ctx, delivery)
		if err == nil || try == pushTries || corp.KindOf(err) != corp.KindUnavailable || !pause.wait(ctx) {
			return err
		}
	}
}

func (run *run) uploadBundle(ctx context.Context, checkout *gitwork.Checkout) (*corp.BlobID, error) {
	path := filepath.Join(run.folder.Root(), "result.bundle")
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("keep result: %w", err)
	}
	if err := errors.Join(checkout.Bundle(ctx, file), file.Close()); err != nil {
		return nil, err
	}
	blob, err := run.upload(ctx, corp.BlobResult, func() (io.ReadCloser, error) { return os.Open(path) })
	if err != nil {
		return nil, err
	}
	return &blob.ID, nil
}

// upload stores bytes on the server, again from the start while it is away.
func (run *run) upload(ctx context.Context, kind string, open func() (io.ReadCloser, error)) (corp.Blob, error) {
	var pause pause
	for {
		body, err := open()
		if err != nil {
			return corp.Blob{}, fmt.Errorf("upload %s: %w", kind, err)
		}
		blob, err := run.Client.UploadResult(ctx, run.offer.Lease, kind, struct{ io.Reader }{body}) // closed here, not by the transport
		if closed := body.Close(); err == nil {
			return blob, closed
		}
		if corp.KindOf(err) == corp.KindLeaseLost {
			run.lose("the server did not take its result")
		}
		if corp.KindOf(err) != corp.KindUnavailable || !pause.wait(ctx) {
			return corp.Blob{}, fmt.Errorf("upload %s: %w", kind, err)
		}
	}
}

func diffstat(d gitwork.Diffstat) *corp.Diffstat {
	stat := &corp.Diffstat{Files: d.Files, Insertions: d.Insertions, Deletions: d.Deletions}
	for _, f := range d.PerFile[:min(len(d.PerFile), maxPaths)] {
		stat.Paths = append(stat.Paths, corp.PathStat{Path: clean(f.Path), Insertions: f.Insertions, Deletions: f.Deletions, Binary: f.Binary})
	}
	return stat
}
