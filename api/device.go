package api

import (
	"context"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/postgres/door"
)

// newDeviceBody mirrors client.NewDevice.
type newDeviceBody struct {
	Device    string `json:"device" doc:"What it asks with. Shown this once."`
	Code      string `json:"code" doc:"What the person types."`
	Page      string `json:"page" doc:"Where."`
	ExpiresIn int64  `json:"expires_in" doc:"Seconds."`
	Interval  int64  `json:"interval" doc:"Seconds between two questions."`
}

// deviceRequest mirrors client.DeviceRequest.
type deviceRequest struct {
	Device string `json:"device" maxLength:"100"`
}

// deviceAnswer mirrors client.DeviceAnswer.
type deviceAnswer struct {
	Code        string           `json:"code" maxLength:"40" doc:"As the device shows it."`
	WorkspaceID corp.WorkspaceID `json:"workspace_id,omitzero" doc:"Where it is to work; one of the person's, when left out."`
	Deny        bool             `json:"deny,omitempty" doc:"Turn it away."`
}

// waitingBody mirrors client.Waiting.
type waitingBody struct {
	Address   string `json:"address" doc:"Where the device asked from."`
	UserAgent string `json:"user_agent"`
}

type (
	deviceInput  struct{ Body deviceRequest }
	approveInput struct{ Body deviceAnswer }
	waitingInput struct{ Body codeRequest }
)

func (a *API) beginDevice(ctx context.Context, _ corp.Identity, _ *nothing) (*body[newDeviceBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	door.Describe(ctx, "a device", nil)
	d, err := f.BeginDevice(ctx, comesOf(ctx))
	return answer(newDeviceBody{d.Secret, d.Code, d.Page, int64(d.Lasts.Seconds()), int64(d.Interval.Seconds())}, pause(err))
}

func (a *API) takeDevice(ctx context.Context, _ corp.Identity, in *deviceInput) (*signedInOutput, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return a.admitted(f.TakeDevice(ctx, in.Body.Device, comesOf(ctx)))
}

func (a *API) waitingDevice(ctx context.Context, who corp.Identity, in *waitingInput) (*body[waitingBody], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	d, err := f.Device(ctx, who, in.Body.Code)
	return answer(waitingBody(d), pause(err))
}

func (a *API) answerDevice(ctx context.Context, who corp.Identity, in *approveInput) (*nothing, error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	return nil, pause(f.AnswerDevice(ctx, who, identity.DeviceReply{Code: in.Body.Code, WorksIn: in.Body.WorkspaceID, Yes: !in.Body.Deny}, comesOf(ctx)))
}
