package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
)

// anchorFile keeps the audit log's checkpoints apart from the database, as JSON lines.
type anchorFile struct {
	path string
	mu   sync.Mutex
}

// anchor returns who keeps the checkpoints, or nil when only the log does.
func (c *config) anchor() func(audit.Checkpoint) error {
	if c.AuditAnchor == "" {
		return nil
	}
	return (&anchorFile{path: c.AuditAnchor}).Add
}

// Add appends a checkpoint and has it on the disk when it returns. The file is
// opened each time, so that it may be moved away at any moment.
func (a *anchorFile) Add(c audit.Checkpoint) (err error) {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write the audit anchor: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.OpenFile(a.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit anchor: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err = f.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write the audit anchor: %w", err)
	}
	return f.Sync()
}

// readAnchor reads the checkpoints of an anchor file. A last line that a crash cut
// off is left out.
func readAnchor(path string) ([]audit.Checkpoint, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usageError{corp.Invalid("anchor", "The file of checkpoints cannot be read: "+err.Error()+".", "Name the file that the server was started with --audit-anchor for.")}
	}
	defer func() { _ = f.Close() }()
	var found []audit.Checkpoint
	in := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return nil, fmt.Errorf("read the audit anchor: %w", err)
		case len(bytes.TrimSpace(line)) == 0:
			continue
		}
		var c audit.Checkpoint
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, usageError{corp.Invalid("anchor", fmt.Sprintf("Line %d of the file of checkpoints is not one.", n), "Each line is a checkpoint as the server wrote it.")}
		}
		found = append(found, c)
	}
}
