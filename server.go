package corp

import "time"

// Server is a process that serves the installation. Any number of them may, on
// one database; one at a time leads, which is to say that it leases runs.
type Server struct {
	ID        ServerID  `json:"id"`
	Address   string    `json:"address"`    // base URL under which the other servers reach it
	Gateway   string    `json:"gateway"`    // base URL under which runners reach its gateway
	BlobStore string    `json:"blob_store"` // of the folder that it keeps blobs in: the same for all servers
	Version   string    `json:"version"`
	State     string    `json:"state"` // online, offline
	Leading   bool      `json:"leading"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at"`
}

// The states of a server.
const (
	ServerOnline  = "online"
	ServerOffline = "offline" // silent for longer than a server that lives; it has not left in good order
)
