package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	defaultMatches = 100
	maxMatches     = 500
	maxPerFile     = 50       // matching lines that are shown of one file
	maxCollected   = 5000     // matching lines after which a search ends
	maxMatchText   = 300      // bytes of a shown line
	maxSearchText  = 48 << 10 // bytes of a whole answer
)

type searchInput struct {
	Pattern    string `json:"pattern"`
	Path       string `json:"path"`
	Glob       string `json:"glob"`
	IgnoreCase bool   `json:"ignore_case"`
	Limit      int    `json:"limit"`
}

func searchTool() tool {
	return define("search",
		"Find the lines that match a regular expression (RE2 syntax) in all files, or in those whose name matches a glob. With a glob and no pattern, find the files. What .gitignore excludes is left out.",
		`{"type":"object","properties":{"pattern":{"type":"string","description":"Regular expression, matched within a line."},"path":{"type":"string","description":"Folder or file relative to the checkout; everything if left out."},"glob":{"type":"string","description":"For example *.go or src/**/*.{ts,tsx}."},"ignore_case":{"type":"boolean"},"limit":{"type":"integer","minimum":1,"maximum":500,"description":"Lines to show; 100 if left out."}}}`,
		func(w *workbench, in searchInput) call {
			title := "Search " + clip(in.Pattern, 100)
			if in.Glob != "" {
				title += " in " + clip(in.Glob, 100)
			}
			return call{title: title, kind: kindSearch, reads: true, do: func(ctx context.Context) result { return search(ctx, w, in) }}
		})
}

// matcher finds matching lines.
type matcher struct {
	literal []byte         // every match contains it; may be empty
	re      *regexp.Regexp // nil when the literal is all
}

// newMatcher reads the pattern. One that is no regular expression is searched
// for as it stands, and the note says so.
func newMatcher(in searchInput) (m matcher, note string) {
	expression := in.Pattern
	if _, err := regexp.Compile(expression); err != nil {
		expression = regexp.QuoteMeta(in.Pattern)
		note = fmt.Sprintf("[The pattern is not a regular expression (%s), so it was searched for as plain text. To use signs such as ( [ { * + ? | . as themselves in one, write a backslash before them.]\n",
			strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if in.IgnoreCase {
		return matcher{re: regexp.MustCompile("(?im)" + expression)}, note
	}
	m.literal = []byte(required(expression))
	if expression != regexp.QuoteMeta(string(m.literal)) {
		m.re = regexp.MustCompile("(?m)" + expression)
	}
	return m, note
}

// hopeless says, by one fast scan, that no line can match. It cannot tell in a
// file with carriage returns, where the end of a line is not where $ looks.
func (m matcher) hopeless(content []byte) bool {
	if len(m.literal) > 0 {
		return !bytes.Contains(content, m.literal)
	}
	return !bytes.Contains(content, []byte("\r\n")) && !m.re.Match(content)
}

// next returns the next matching line at or after from, as start and end. Lines
// are matched one by one, because a match across many of them would be looked
// for again and again.
func (m matcher) next(content []byte, from int) (start, end int, ok bool) {
	for from < len(content) {
		start = from
		if len(m.literal) > 0 {
			at := bytes.Index(content[from:], m.literal)
			if at < 0 {
				break
			}
			start = bytes.LastIndexByte(content[:from+at], '\n') + 1
			from += at
		}
		end = len(content)
		if n := bytes.IndexByte(content[from:], '\n'); n >= 0 {
			end = from + n
		}
		if m.re == nil || m.re.Match(bytes.TrimSuffix(content[start:end], []byte("\r"))) {
			return start, end, true
		}
		from = end + 1
	}
	return 0, 0, false
}

type hit struct {
	line int // from 1
	text string
}

type fileHits struct {
	rel   string
	hits  []hit
	count int // of matching lines, shown or not
}

// hunt is one search under way.
type hunt struct {
	match  matcher
	filter func(string) bool
	names  bool // no pattern: the files themselves are wanted
	buffer sync.Pool
	found  atomic.Int64
	files  atomic.Int64
	large  atomic.Int64
	stop   context.CancelFunc

	mu    sync.Mutex
	where []fileHits
}

func search(ctx context.Context, w *workbench, in searchInput) result {
	if in.Pattern == "" && in.Glob == "" {
		return failure(misuse("Give a pattern, or a glob, or both."))
	}
	filter, err := pathFilter(in.Glob)
	if err != nil {
		return failure(err)
	}
	if in.Path == "" {
		in.Path = "."
	}
	rel, err := w.checkout.rel(in.Path)
	if err != nil {
		return failure(err)
	}
	match, note := newMatcher(in)
	inner, stop := context.WithCancel(ctx)
	defer stop()
	h := &hunt{match: match, filter: filter, names: in.Pattern == "", stop: stop}
	h.buffer.New = func() any { return new(make([]byte, 0, 64<<10)) }
	if err := h.run(inner, w, rel); err != nil {
		return failure(err)
	}
	if ctx.Err() != nil {
		return failure(context.Cause(ctx))
	}
	limit := defaultMatches
	if in.Limit > 0 {
		limit = min(in.Limit, maxMatches)
	}
	return result{text: note + h.text(limit)}
}

func (h *hunt) run(ctx context.Context, w *workbench, rel string) error {
	if info, err := w.checkout.root.Stat(rel); err == nil && !info.IsDir() {
		parent, err := w.checkout.enter(path.Dir(rel))
		if err != nil {
			return err
		}
		defer parent.close()
		h.filter = func(string) bool { return true } // it was named
		h.visit(parent, path.Base(rel))
		return nil
	}
	start, err := w.checkout.enter(rel)
	if err != nil {
		return err
	}
	walk(ctx, start, h.visit)
	return nil
}

func (h *hunt) visit(f *folder, name string) {
	rel := path.Join(f.rel, name)
	if !h.filter(rel) {
		return
	}
	h.files.Add(1)
	if h.names {
		h.note(fileHits{rel: rel, count: 1})
		return
	}
	buffer, _ := h.buffer.Get().(*[]byte)
	defer h.buffer.Put(buffer)
	content, err := readInto((*buffer)[:0], f, name)
	*buffer = content[:0]
	if err != nil {
		h.large.Add(1)
		return
	}
	if hits := h.look(content); hits.count > 0 {
		hits.rel = rel
		h.note(hits)
	}
}

func (h *hunt) note(hits fileHits) {
	h.mu.Lock()
	h.where = append(h.where, hits)
	h.mu.Unlock()
	if h.found.Add(int64(hits.count)) >= maxCollected {
		h.stop()
	}
}

func (h *hunt) look(content []byte) fileHits {
	var out fileHits
	if h.match.hopeless(content) {
		return out
	}
	line, counted := 1, 0
	for from := 0; ; {
		start, end, ok := h.match.next(content, from)
		if !ok {
			return out
		}
		if out.count == 0 && isBinary(content) {
			return fileHits{} // looked at only now, as few files have a match
		}
		out.count++
		if len(out.hits) < maxPerFile {
			line += bytes.Count(content[counted:start], []byte("\n"))
			counted = start
			text := strings.ToValidUTF8(string(bytes.TrimRight(content[start:min(end, start+4*maxMatchText)], "\r")), "\ufffd")
			out.hits = append(out.hits, hit{line: line, text: clip(text, maxMatchText)})
		}
		from = end + 1
	}
}

var errLarge = errors.New("the file is too large to be searched")

// readInto reads a file of the folder, growing the buffer only for a large one.
func readInto(buffer []byte, f *folder, name string) ([]byte, error) {
	in, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return buffer, nil // gone, or not ours to read
	}
	defer func() { _ = in.Close() }() // only read from
	for {
		if len(buffer) == cap(buffer) {
			if len(buffer) >= maxFileBytes {
				return buffer, errLarge
			}
			buffer = slices.Grow(buffer, len(buffer))
		}
		n, err := in.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if errors.Is(err, io.EOF) {
			return buffer, nil
		}
		if err != nil {
			return buffer[:0], nil // not a file to read, after all
		}
	}
}

// text shows what was found, by path.
func (h *hunt) text(limit int) string {
	slices.SortFunc(h.where, func(a, b fileHits) int { return strings.Compare(a.rel, b.rel) })
	var b strings.Builder
	shown, total := 0, 0
	for _, f := range h.where {
		total += f.count
		if h.names {
			if shown < limit && b.Len() < maxSearchText {
				fmt.Fprintf(&b, "%s\n", f.rel)
				shown++
			}
			continue
		}
		for _, hit := range f.hits {
			if shown < limit && b.Len() < maxSearchText {
				fmt.Fprintf(&b, "%s:%d:%s\n", f.rel, hit.line, hit.text)
				shown++
			}
		}
	}
	switch least := ""; {
	case total == 0:
		fmt.Fprintf(&b, "No match in %d files.\n", h.files.Load())
	case shown < total:
		if total >= maxCollected {
			least = "at least "
		}
		fmt.Fprintf(&b, "[%d shown of %s%d in %d files; narrow the pattern, path or glob]\n", shown, least, total, len(h.where))
	}
	if n := h.large.Load(); n > 0 {
		fmt.Fprintf(&b, "[%d files larger than %d MiB were left out]\n", n, maxFileBytes>>20)
	}
	return b.String()
}
