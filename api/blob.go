package api

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/genericcorp/corp"
)

// transferStall is how long an upload or a download may stand still.
const transferStall = time.Minute

type blobInput struct {
	Blob corp.BlobID `path:"blob"`
}

// Upload is an input whose body is a stream of bytes.
type Upload struct{ bytes io.Reader }

type uploadInput struct{ Upload }

// Resolve takes the request's body, for huma. A body that says that it is too
// large is refused before it is sent.
func (u *Upload) Resolve(hctx huma.Context) []error {
	r, w := humago.Unwrap(hctx)
	if r.ContentLength > maxBlob {
		return []error{&corp.Error{Kind: corp.KindInvalid, Code: "too_large", Field: "body", Message: "The file is larger than 2 GiB.", Hint: "Send a bundle of fewer commits."}}
	}
	control := http.NewResponseController(w)
	u.bytes = stalling{r.Body, func() error { return control.SetReadDeadline(time.Now().Add(transferStall)) }}
	return nil
}

// stalling allows each read its own time, so that a long upload may go on as
// long as it goes on.
type stalling struct {
	r      io.Reader
	extend func() error
}

func (s stalling) Read(p []byte) (int, error) {
	if err := s.extend(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

func (a *API) uploadSource(ctx context.Context, who corp.Identity, in *uploadInput) (*body[corp.Blob], error) {
	return answer(a.keep(ctx, who, corp.BlobSource, in.bytes))
}

// keep stores bytes and then their row, so that a row always has its bytes.
func (a *API) keep(ctx context.Context, who corp.Identity, kind string, data io.Reader) (corp.Blob, error) {
	id := corp.NewID[corp.BlobID]()
	size, sum, err := a.Blobs.Put(ctx, who.Workspace, id, data, maxBlob)
	if err != nil {
		return corp.Blob{}, err
	}
	if size == 0 {
		err = corp.Invalid("body", "The file is empty.", "Send its bytes as the request's body.")
	} else {
		var stored corp.Blob
		stored, err = a.DB.In(who.Workspace).CreateBlob(ctx, who.Actor, corp.Blob{ID: id, Kind: kind, Size: size, SHA256: sum, CreatedBy: who.Actor, CreatedAt: time.Now().UTC()})
		if err == nil {
			return stored, nil
		}
	}
	if gone := a.Blobs.Delete(context.WithoutCancel(ctx), who.Workspace, id); gone != nil {
		a.Logger.WarnContext(ctx, "bytes without a row left behind", "workspace_id", who.Workspace.String(), "blob_id", id.String(), "error", gone)
	}
	return corp.Blob{}, err
}

func (a *API) downloadBlob(ctx context.Context, who corp.Identity, in *blobInput) (*huma.StreamResponse, error) {
	return a.sendBlob(ctx, who, in.Blob, "application/octet-stream", in.Blob.String())
}

// sendBlob answers with stored bytes. They are somebody's work and never shown
// by a browser as a page of ours.
func (a *API) sendBlob(ctx context.Context, who corp.Identity, id corp.BlobID, media, name string) (*huma.StreamResponse, error) {
	row, err := a.DB.In(who.Workspace).Blob(ctx, id)
	if err != nil {
		return nil, err
	}
	data, err := a.Blobs.Get(ctx, who.Workspace, id)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) { //nolint:contextcheck // hctx carries the request's context
		defer func() { _ = data.Close() }()
		r, w := humago.Unwrap(hctx)
		h := w.Header()
		h.Set("Content-Type", media)
		h.Set("Content-Length", strconv.FormatInt(row.Size, 10))
		h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
		h.Set("Corp-SHA256", row.SHA256)
		control := http.NewResponseController(w)
		defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the next request on this connection has its own time
		source := stalling{data, func() error { return control.SetWriteDeadline(time.Now().Add(transferStall)) }}
		if _, err := io.Copy(w, source); err != nil {
			// The length was promised: cutting the connection tells the reader that it is not whole.
			exchangeOf(r.Context()).err = err
			panic(http.ErrAbortHandler)
		}
	}}, nil
}
