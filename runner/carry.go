package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/gitwork"
)

// afterwards is the time to collect and deliver what a stopped agent has left.
const afterwards = 15 * time.Second

// carryOut goes the run's way and returns how it ended. Success is evidence: the
// agent ended by itself, files have changed, and the check, if there is one,
// passed. Whatever was changed is delivered also when the run failed, so that a
// person can look at it.
func (run *run) carryOut() corp.Outcome {
	late := time.AfterFunc(time.Until(run.deadline), func() {
		run.stop(corp.ReasonTimeout, fmt.Sprintf("The run used up its time of %s.", milliseconds(run.offer.TimeoutMS)), stopGrace)
	})
	defer late.Stop()
	checkout, err := run.fetch(run.active)
	if err != nil {
		return run.failure(err, reasonOf(err))
	}
	outcome := run.work(checkout.Base())
	ctx := run.held
	if s := run.halted(); s != nil {
		if s.reason == corp.ReasonReleased || s.reason == corp.ReasonCancelled {
			return outcome
		}
		// The work is there and paid for; but the server does not wait for ever.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, afterwards)
		defer cancel()
	}
	result, err := run.collect(ctx, checkout)
	if err != nil {
		if outcome.State == corp.RunFailed {
			return outcome
		}
		return run.failure(err, reasonOf(err))
	}
	if !result.Changed {
		if outcome.State == corp.RunSucceeded {
			outcome = run.failed(corp.ReasonNoChange, "The agent ended without changing a file.")
		}
		return run.orFull(outcome)
	}
	if outcome.State == corp.RunSucceeded && run.offer.Spec.Check != "" {
		outcome = run.judge(outcome)
	}
	return run.orFull(run.deliver(ctx, checkout, result, outcome))
}

// fetch brings the code into the run's folder.
func (run *run) fetch(ctx context.Context) (*gitwork.Checkout, error) {
	if err := run.folder.Remove(); err != nil {
		return nil, err
	}
	if err := run.folder.Make(run.Sandbox); err != nil {
		return nil, err
	}
	source, err := run.source(ctx)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	checkout, err := gitwork.Fetch(ctx, gitwork.Place{
		Folder: run.folder, Level: run.Sandbox, Binary: run.Executable, Task: run.offer.TaskID, NetworkEnv: run.NetworkEnv, Outbound: run.agreed().outbound,
	}, source)
	if err != nil {
		return nil, err
	}
	run.story.note(fmt.Sprintf("Checked out %s in %.1f s.", checkout.Base(), time.Since(begun).Seconds()))
	for _, warning := range checkout.Warnings() {
		run.story.note(warning)
	}
	return checkout, nil
}

// source says where the code is, and downloads it when it was uploaded.
func (run *run) source(ctx context.Context) (gitwork.Source, error) {
	spec := run.offer.Spec
	if spec.SourceID == nil {
		return gitwork.Source{URL: run.repositoryURL(), Credential: run.credential(), Base: firstOf(spec.BaseCommit, spec.Base, run.offer.Repository.DefaultBase)}, nil
	}
	path := filepath.Join(run.folder.Root(), "source.bundle")
	var pause pause
	for {
		err := run.download(ctx, path)
		if err == nil {
			return gitwork.Source{Bundle: path, Base: spec.BaseCommit}, nil
		}
		if !passing(err) || corp.KindOf(err) == corp.KindInternal || !pause.wait(ctx) {
			return gitwork.Source{}, fmt.Errorf("download source: %w", err)
		}
	}
}

func (run *run) download(ctx context.Context, path string) error {
	body, err := run.Client.Source(ctx, run.offer.Lease)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, body); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

func (run *run) repositoryURL() string {
	return firstOf(run.offer.Repository.URL, run.offer.Spec.RepositoryURL)
}

func (run *run) credential() gitwork.Credential {
	if run.offer.Credential == nil {
		return gitwork.Credential{}
	}
	return gitwork.Credential{Username: run.offer.Credential.Username, Password: run.offer.Credential.Password}
}

func firstOf(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// collect makes one commit of what the agent left.
func (run *run) collect(ctx context.Context, checkout *gitwork.Checkout) (gitwork.Result, error) {
	return checkout.Collect(ctx, gitwork.Commit{
		AuthorName: "Generic Corp " + run.offer.Agent.Name,
		Message:    run.message(),
		At:         time.Now().UTC().Truncate(time.Second),
	})
}

// message is the commit's: the prompt's first line, and where it comes from.
func (run *run) message() string {
	const subject = 72
	first, _, _ := strings.Cut(strings.TrimSpace(clean(run.offer.Spec.Prompt)), "\n")
	if line := []rune(strings.TrimSpace(first)); len(line) > subject {
		first = string(line[:subject-1]) + "…"
	}
	return fmt.Sprintf("%s\n\nCorp-Task: %s\nCorp-Run: %s\nCorp-Agent: %s\n", firstOf(strings.TrimSpace(first), "Work of an agent"),
		run.offer.TaskID, run.offer.RunID, run.offer.Agent.Name)
}

// reasonOf says what a failed step before the agent means for the run.
func reasonOf(err error) corp.Reason {
	reason := gitwork.ReasonOf(err)
	if e, ok := asError(err); ok && reason == corp.ReasonInternal && e.Kind == corp.KindNotFound {
		return corp.ReasonRepository // the uploaded source is gone
	}
	return reason
}
