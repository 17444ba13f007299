package corp

import "time"

// RepositorySpec is a git source that tasks may name.
type RepositorySpec struct {
	Name        string `json:"name" minLength:"1" maxLength:"60" pattern:"^[a-z0-9][a-z0-9._-]*$"`
	URL         string `json:"url" maxLength:"2000" doc:"https, http, ssh or git; never a path."`
	DefaultBase string `json:"default_base,omitempty" maxLength:"250" doc:"The ref that tasks start from; empty means the remote's HEAD."`
}

// Repository is a git source with its credential. The credential is sealed at
// rest, given to runners that need it and never shown again.
type Repository struct {
	ID RepositoryID `json:"id"`
	RepositorySpec
	Concurrency   int        `json:"concurrency"` // runs that may be leased at a time; 0 is no limit of its own
	HasCredential bool       `json:"has_credential"`
	CreatedBy     Actor      `json:"created_by"`
	CreatedAt     time.Time  `json:"created_at"`
	ArchivedAt    *time.Time `json:"archived_at,omitempty"`
}

// GitCredential is what git sends to a remote. It never enters a sandbox.
type GitCredential struct {
	Username string `json:"username" maxLength:"200"`
	Password string `json:"password" maxLength:"4000"`
}

// The kinds of stored bytes.
const (
	BlobSource = "source" // a git bundle of a base commit, uploaded by the command line
	BlobResult = "result" // a git bundle of a delivered branch
	BlobPatch  = "patch"  // the same change as a patch
)

// Blob is a row for bytes kept outside the database, in the workspace's own part
// of the blob store.
type Blob struct {
	ID        BlobID    `json:"id"`
	Kind      string    `json:"kind"`
	Size      int64     `json:"size"` // bytes
	SHA256    string    `json:"sha256"`
	CreatedBy Actor     `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
}
