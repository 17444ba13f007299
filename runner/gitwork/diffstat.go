package gitwork

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// Diffstat counts what changed, in files and lines.
type Diffstat struct {
	Files      int        `json:"files"`
	Insertions int        `json:"insertions"`
	Deletions  int        `json:"deletions"`
	PerFile    []FileStat `json:"per_file"`
}

// FileStat counts what changed in one file. A binary file has no lines.
type FileStat struct {
	Path       string `json:"path"`
	OldPath    string `json:"old_path,omitempty"` // where it was renamed from
	Insertions int    `json:"insertions"`
	Deletions  int    `json:"deletions"`
	Binary     bool   `json:"binary,omitempty"`
}

func (c *Checkout) diffstat(ctx context.Context, commit string) (Diffstat, error) {
	out, err := c.scratch(ctx, shut{}, "diff-tree", "-r", "-z", "--numstat", "-M", "--no-ext-diff", "--no-textconv", c.base, commit)
	if err != nil {
		return Diffstat{}, err
	}
	return parseNumstat(out)
}

// parseNumstat reads "added TAB deleted TAB path NUL"; for a rename the path is
// empty, and the old and the new one follow as records of their own.
func parseNumstat(out string) (Diffstat, error) {
	var stat Diffstat
	records := strings.Split(out, "\x00")
	for i := 0; i < len(records); i++ {
		if records[i] == "" {
			continue
		}
		fields := strings.SplitN(records[i], "\t", 3)
		if len(fields) != 3 {
			return Diffstat{}, errors.New("git answered with an unknown form of numstat")
		}
		file := FileStat{Path: fields[2], Binary: fields[0] == "-"}
		if file.Path == "" {
			if i+2 >= len(records) {
				return Diffstat{}, errors.New("git answered with half a rename")
			}
			file.OldPath, file.Path = records[i+1], records[i+2]
			i += 2
		}
		file.Insertions, file.Deletions = lines(fields[0]), lines(fields[1])
		stat.add(file)
	}
	return stat, nil
}

// lines reads a count; a binary file's "-" is none.
func lines(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func (s *Diffstat) add(f FileStat) {
	s.Files++
	s.Insertions += f.Insertions
	s.Deletions += f.Deletions
	s.PerFile = append(s.PerFile, f)
}
