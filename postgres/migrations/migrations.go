// Package migrations holds the SQL files that make the schema, embedded. It only
// holds them: package postgres applies them, remembers what each one hashed to
// and refuses a file that was changed after it was applied.
//
// Migrations go forward only: expand first, contract in a later release.
package migrations

import "embed"

// Files are the migrations, named 00001_what.sql and up.
//
//go:embed *.sql
var Files embed.FS
