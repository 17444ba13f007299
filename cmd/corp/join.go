package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/genericcorp/corp"
)

// secretCheck is what every server of an installation hashes with its secret: the
// same hash is the same secret.
const secretCheck = "corp: one installation, one secret" //nolint:gosec // what is hashed with the secret, not the secret

func (c *config) secretFile() string {
	if c.SecretFile != "" {
		return absolute(c.SecretFile)
	}
	return c.path("secret.key")
}

func (c *config) blobs() string {
	if c.Blobs != "" {
		return absolute(c.Blobs)
	}
	return c.path("blobs")
}

// advertised is the URL under which the other servers reach this one.
func (s *server) advertised() string {
	if s.config.Advertise != "" {
		return s.config.Advertise
	}
	return s.url()
}

// row is what the others know of this server.
func (s *server) row() corp.Server {
	return corp.Server{ID: s.id, Address: s.advertised(), Gateway: s.gatewayURL(), BlobStore: s.blobs.ID(), Version: version}
}

// join makes this process one of the installation's servers. It refuses one that
// has another secret than the others: what they seal it could not open, and their
// keys it would not know.
func (s *server) join(ctx context.Context) error {
	system := s.db.System("join the servers")
	same, err := system.AgreeOnSecret(ctx, s.ring.Hash(secretCheck), s.config.NewSecret)
	if err != nil {
		return fmt.Errorf("compare the secret with the installation's: %w", err)
	}
	if !same {
		return &corp.Error{
			Kind: corp.KindInvalid, Code: "other_secret", Field: "secret-key-file",
			Message: "The secret in " + s.config.secretFile() + " is not the one that this database is used with.",
			Hint:    "All servers share one secret: copy the first server's secret.key, or name it with --secret-key-file. If it is lost for good, start once with --new-secret; all keys and stored credentials are worthless then.",
		}
	}
	own := s.row()
	if err := system.RegisterServer(ctx, own); err != nil {
		return fmt.Errorf("register the server: %w", err)
	}
	list, err := system.Servers(ctx, corp.Page{Limit: corp.MaxPage})
	if err != nil {
		return fmt.Errorf("look at the other servers: %w", err)
	}
	for _, other := range list.Items {
		if other.State == corp.ServerOnline && other.BlobStore != "" && other.BlobStore != own.BlobStore {
			s.log.WarnContext(ctx, "another server keeps its blobs in another folder: what is uploaded here is not found there; give both the same with --blobs",
				slog.String("server_id", other.ID.String()), slog.String("address", other.Address), slog.String("path", filepath.Clean(s.config.blobs())))
		}
	}
	return nil
}

// leave takes this process from the list of servers.
func (s *server) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := s.db.System("leave the servers").LeaveServer(ctx, s.id); err != nil {
		return fmt.Errorf("leave the servers: %w", err)
	}
	return nil
}
