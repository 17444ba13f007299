package builtin

import (
	"context"
	"fmt"
	"path"
	"strings"
)

const (
	maxListed        = 500 // entries
	defaultListDepth = 3
	maxListDepth     = 20
)

type listInput struct {
	Path  string `json:"path"`
	Depth int    `json:"depth"`
}

func listTool() tool {
	return define("list",
		"Show the files and folders below a folder as a tree. What .gitignore excludes is left out.",
		`{"type":"object","properties":{"path":{"type":"string","description":"Folder relative to the checkout; the checkout itself if left out."},"depth":{"type":"integer","minimum":1,"maximum":20,"description":"Levels of folders; 3 if left out."}}}`,
		func(w *workbench, in listInput) call {
			if in.Path == "" {
				in.Path = "."
			}
			c := call{title: "List " + clip(in.Path, 200), kind: kindRead, reads: true, do: func(ctx context.Context) result { return list(ctx, w, in) }}
			if rel, err := w.checkout.rel(in.Path); err == nil {
				c.locations = []location{{Path: w.checkout.abs(rel)}}
			}
			return c
		})
}

// listing collects a tree level by level, so that a huge folder deep down does
// not crowd out what is near the top.
type listing struct {
	shown   map[string][]string // names by folder; a folder's name ends in a slash
	count   int
	omitted bool
}

func list(ctx context.Context, w *workbench, in listInput) result {
	rel, err := w.checkout.rel(in.Path)
	if err != nil {
		return failure(err)
	}
	start, err := w.checkout.enter(rel)
	if err != nil {
		return failure(err)
	}
	depth := defaultListDepth
	if in.Depth > 0 {
		depth = min(in.Depth, maxListDepth)
	}
	l := &listing{shown: map[string][]string{}}
	level := []*folder{start}
	for range depth {
		level = l.level(ctx, level)
	}
	for _, f := range level {
		f.close()
	}
	if ctx.Err() != nil {
		return failure(context.Cause(ctx))
	}
	return result{text: l.text(rel, depth, len(level) > 0)}
}

// level notes the entries of some folders, closes them, and opens those below.
func (l *listing) level(ctx context.Context, folders []*folder) []*folder {
	var below []*folder
	for _, f := range folders {
		if ctx.Err() != nil || l.omitted || f.look() != nil {
			f.close()
			continue
		}
		for _, e := range f.entries {
			if l.count >= maxListed {
				l.omitted = true
				break
			}
			name := e.Name()
			if e.IsDir() {
				if next, err := f.down(name); err == nil {
					below = append(below, next)
				}
				name += "/"
			}
			l.shown[f.rel] = append(l.shown[f.rel], name)
			l.count++
		}
		f.close()
	}
	return below
}

func (l *listing) text(rel string, depth int, deeper bool) string {
	if l.count == 0 {
		return fmt.Sprintf("%s is empty, or everything in it is ignored.", rel)
	}
	var b strings.Builder
	l.print(&b, rel, "")
	switch {
	case l.omitted:
		fmt.Fprintf(&b, "[the first %d entries; list a folder below, or use search with a glob]\n", l.count)
	case deeper:
		fmt.Fprintf(&b, "[%d levels; folders may have more below]\n", depth)
	}
	return b.String()
}

func (l *listing) print(b *strings.Builder, dir, indent string) {
	for _, name := range l.shown[dir] {
		fmt.Fprintf(b, "%s%s\n", indent, strings.ToValidUTF8(clip(name, 300), "\ufffd"))
		if base, ok := strings.CutSuffix(name, "/"); ok {
			l.print(b, path.Join(dir, base), indent+"  ")
		}
	}
}
