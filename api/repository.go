package api

import (
	"context"
	"encoding/json"

	"github.com/genericcorp/corp"
)

// repositoryRequest mirrors client.RepositoryRequest.
type repositoryRequest struct {
	corp.RepositorySpec
	Credential *corp.GitCredential `json:"credential,omitempty" doc:"What git sends to the remote; never shown again."`
}

// RepositoryInput names a repository in the path.
type RepositoryInput struct {
	Repository corp.RepositoryID `path:"repository"`
}

type limitRepositoryInput struct {
	RepositoryInput
	Body limitRequest
}

type createRepositoryInput struct{ Body repositoryRequest }

func (a *API) repositories(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.Repository]], error) {
	return answerList(a.DB.In(who.Workspace).Repositories(ctx, in.page()))
}

func (a *API) repository(ctx context.Context, who corp.Identity, in *RepositoryInput) (*body[corp.Repository], error) {
	return answer(a.DB.In(who.Workspace).Repository(ctx, in.Repository))
}

func (a *API) createRepository(ctx context.Context, who corp.Identity, in *createRepositoryInput) (*body[corp.Repository], error) {
	spec := in.Body.RepositorySpec
	if err := checkGitURL("url", spec.URL); err != nil {
		return nil, err
	}
	if err := a.Outbound.CheckURL("url", spec.URL); err != nil {
		return nil, err
	}
	if err := checkRef("default_base", spec.DefaultBase); err != nil {
		return nil, err
	}
	id := corp.NewID[corp.RepositoryID]()
	var sealed []byte
	if in.Body.Credential != nil {
		plain, err := json.Marshal(in.Body.Credential) //nolint:gosec // it is sealed in the next statement
		if err != nil {
			return nil, err
		}
		sealed = a.Ring.Seal(plain, who.Workspace.String(), "repository", id.String())
	}
	return answer(a.DB.In(who.Workspace).CreateRepository(ctx, who.Actor, id, spec, sealed))
}

func (a *API) limitRepository(ctx context.Context, who corp.Identity, in *limitRepositoryInput) (*body[corp.Repository], error) {
	return answer(a.DB.In(who.Workspace).LimitRepository(ctx, who.Actor, in.Repository, in.Body.Concurrency))
}

func (a *API) archiveRepository(ctx context.Context, who corp.Identity, in *RepositoryInput) (*body[corp.Repository], error) {
	return answer(a.DB.In(who.Workspace).ArchiveRepository(ctx, who.Actor, in.Repository))
}
