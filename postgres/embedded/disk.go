package embedded

import (
	"errors"
	"strings"
	"syscall"

	"github.com/genericcorp/corp"
)

// explain says in words what the disk made fail; other errors stay what they are.
func explain(dir string, err error) error {
	if disk := diskError(dir, err); disk != nil {
		return disk
	}
	return err
}

// diskError returns nil for an error that is not the disk's, or that is in words
// already. PostgreSQL's programs tell theirs in text.
func diskError(dir string, err error) error {
	if _, ok := errors.AsType[*corp.Error](err); ok || err == nil {
		return nil
	}
	switch text := err.Error(); {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), strings.Contains(text, "No space left on device"), strings.Contains(text, "Disk quota exceeded"):
		return &corp.Error{
			Kind: corp.KindUnavailable, Code: "disk_full", Err: err,
			Message: "There is no room left for the database in " + dir + ".", Hint: "Make room there (a new one needs 150 MB), or use another folder with --data.",
		}
	case errors.Is(err, syscall.EROFS), strings.Contains(text, "Read-only file system"):
		return &corp.Error{
			Kind: corp.KindInvalid, Field: "dir", Err: err,
			Message: "The database's folder " + dir + " is on a file system that is read-only.", Hint: "Use another folder with --data, or mount it for writing.",
		}
	}
	return nil
}
