// Package embedded runs a private PostgreSQL 18 as a child of this program, so
// that corp needs no database to be set up first.
//
// Start finds the programs, makes a cluster on first use, starts it on a unix
// socket in a private folder, creates the roles and the database, and keeps it
// running until Stop: a server that dies is started again, and one whose
// parent dies shuts itself down. As root it runs PostgreSQL as another user.
//
// It is for one machine: a laptop, a test, a small team. It opens no TCP port,
// takes no backups, upgrades no data between major versions, and knows nothing
// of the product's tables.
package embedded

// The roles and the database that every cluster has. Nothing but migrations
// logs in as OwnerRole, and no query of the product runs as SuperRole.
const (
	SuperRole  = "corp_super"
	OwnerRole  = "corp_owner"
	AppRole    = "corp_app"
	SystemRole = "corp_system"
	Database   = "corp"
)

// Major is the major version of PostgreSQL that this package runs.
const Major = 18
