// Package migrations holds the SQL files that make the schema, embedded, and the
// list of what they hash to. It only holds them: package postgres applies them.
//
// Migrations go forward only. A file that has been released is never edited; the
// database remembers the hash of what it was given and refuses a changed file.
package migrations

import "embed"

// Files are the migrations, named 00001_what.sql and up.
//
//go:embed *.sql
var Files embed.FS
