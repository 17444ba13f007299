package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/genericcorp/corp"
)

// Runners lists the workspace's runners and the pool's.
func (c *Client) Runners(ctx context.Context, page corp.Page) (corp.List[corp.Runner], error) {
	return fetch[corp.List[corp.Runner]](ctx, c, request{method: http.MethodGet, path: "/v1/runners", query: pageQuery(page)})
}

// Register introduces a runner. Repeating it with the same Instance changes nothing.
func (c *Client) Register(ctx context.Context, registration corp.Registration) (corp.Registered, error) {
	return fetch[corp.Registered](ctx, c, request{method: http.MethodPost, path: "/v1/runner/register", body: registration, repeatable: true})
}

// Poll asks for work and waits for it up to poll.WaitMS. A repeated Seq gets
// the same answer. An unknown runner must register again.
func (c *Client) Poll(ctx context.Context, runner corp.RunnerID, poll corp.Poll) (corp.PollAnswer, error) {
	return fetch[corp.PollAnswer](ctx, c, request{method: http.MethodPost, path: "/v1/runner/poll", header: runnerHeader(runner), body: poll, repeatable: true, waits: time.Duration(poll.WaitMS) * time.Millisecond})
}

// Beat renews leases, all of a runner in one request.
func (c *Client) Beat(ctx context.Context, runner corp.RunnerID, beat corp.Beat) (corp.BeatAnswer, error) {
	if beat.Leases == nil {
		beat.Leases = []corp.Lease{} // a list is never null on the wire
	}
	return fetch[corp.BeatAnswer](ctx, c, request{method: http.MethodPost, path: "/v1/runner/beat", header: runnerHeader(runner), body: beat, repeatable: true})
}

// Ack takes an offer up. After it the run counts as an attempt.
func (c *Client) Ack(ctx context.Context, lease corp.Lease) error {
	return c.call(ctx, request{method: http.MethodPost, path: leasePath(lease) + "/ack", body: lease, repeatable: true}, nil)
}

// releaseRequest says why a run is given back.
type releaseRequest struct {
	corp.Lease
	Detail string `json:"detail,omitempty"`
}

// Release gives a run back to the queue; no attempt is used.
func (c *Client) Release(ctx context.Context, lease corp.Lease, detail string) error {
	return c.call(ctx, request{method: http.MethodPost, path: leasePath(lease) + "/release", body: releaseRequest{lease, detail}}, nil)
}

// entriesAnswer says which index the server has not seen yet.
type entriesAnswer struct {
	Next int64 `json:"next"`
}

// ReportEntries reports entries of the transcript and returns the first index
// that the server does not have. A batch may be sent again. The entries' RunID
// and Epoch are those of the batch's lease.
func (c *Client) ReportEntries(ctx context.Context, batch corp.EntryBatch) (next int64, err error) {
	batch.Entries = append([]corp.Entry{}, batch.Entries...) // a list is never null on the wire
	for i := range batch.Entries {
		batch.Entries[i].RunID, batch.Entries[i].Epoch = batch.RunID, batch.Epoch
	}
	out, err := fetch[entriesAnswer](ctx, c, request{method: http.MethodPost, path: leasePath(batch.Lease) + "/entries", body: batch, repeatable: true})
	return out.Next, err
}

// Finish ends a run. Repeating the same outcome succeeds.
func (c *Client) Finish(ctx context.Context, finish corp.Finish) (corp.Run, error) {
	return fetch[corp.Run](ctx, c, request{method: http.MethodPost, path: leasePath(finish.Lease) + "/finish", body: finish, repeatable: true})
}

// Source opens the git bundle that the leased run starts from. The caller closes it.
func (c *Client) Source(ctx context.Context, lease corp.Lease) (io.ReadCloser, error) {
	return c.open(ctx, request{method: http.MethodGet, path: leasePath(lease) + "/source", header: leaseHeader(lease)})
}

// UploadResult stores what a leased run made: kind is corp.BlobResult or
// corp.BlobPatch. It streams.
func (c *Client) UploadResult(ctx context.Context, lease corp.Lease, kind string, data io.Reader) (corp.Blob, error) {
	return fetch[corp.Blob](ctx, c, request{method: http.MethodPost, path: leasePath(lease) + "/blobs", query: url.Values{"kind": {kind}}, header: leaseHeader(lease), stream: data})
}

func leasePath(lease corp.Lease) string { return "/v1/runner/runs" + segment(lease.RunID.String()) }

func leaseHeader(lease corp.Lease) map[string]string {
	return map[string]string{"Corp-Lease": lease.Secret, "Corp-Epoch": strconv.FormatInt(lease.Epoch, 10)}
}

func runnerHeader(runner corp.RunnerID) map[string]string {
	return map[string]string{"Corp-Runner": runner.String()}
}
