package builtin

import (
	"path"
	"regexp"
	"strings"
)

// maxIgnoreBytes is how much of a .gitignore is looked at.
const maxIgnoreBytes = 256 << 10

// ignoring is the rules of one folder's .gitignore, before those of the folders
// above it.
type ignoring struct {
	above *ignoring
	dir   string // the folder, from the checkout on; "." for the checkout
	rules []ignoreRule
}

// ignoreRule is one line of a .gitignore. The two commonest forms, a plain name
// and an ending, are compared without a regular expression.
type ignoreRule struct {
	negated, folders bool
	whole            bool // against the path from the folder on, not the name
	name, ending     string
	re               *regexp.Regexp
}

// extend adds the rules of a folder's .gitignore.
func (g *ignoring) extend(dir string, content []byte) *ignoring {
	var rules []ignoreRule
	for line := range strings.Lines(string(content[:min(len(content), maxIgnoreBytes)])) {
		if rule, ok := parseIgnore(strings.TrimRight(line, "\r\n")); ok {
			rules = append(rules, rule)
		}
	}
	if len(rules) == 0 {
		return g
	}
	return &ignoring{above: g, dir: dir, rules: rules}
}

func parseIgnore(line string) (ignoreRule, bool) {
	line = trimBlanks(strings.TrimPrefix(line, "\ufeff"))
	if line == "" || line[0] == '#' {
		return ignoreRule{}, false
	}
	var rule ignoreRule
	if line[0] == '!' {
		rule.negated, line = true, line[1:]
	}
	if trimmed, ok := strings.CutSuffix(line, "/"); ok {
		rule.folders, line = true, trimmed
	}
	rule.whole = strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return ignoreRule{}, false
	}
	switch rest := strings.TrimPrefix(line, "*"); {
	case !strings.ContainsAny(line, special):
		rule.name = line
	case !rule.whole && len(rest) == len(line)-1 && rest != "" && !strings.ContainsAny(rest, special):
		rule.ending = rest
	default:
		var ok bool
		if rule.re, ok = translate(line, false); !ok {
			return ignoreRule{}, false // git matches nothing with it either
		}
	}
	return rule, true
}

// trimBlanks drops blanks at the end, unless a backslash keeps one.
func trimBlanks(line string) string {
	trimmed := strings.TrimRight(line, " ")
	if len(trimmed) < len(line) && strings.HasSuffix(trimmed, `\`) {
		return trimmed + " "
	}
	return trimmed
}

// match says whether a path, whose folder is not ignored itself, is ignored. The
// last rule that speaks of it decides, and a deeper folder's before a higher one's.
func (g *ignoring) match(rel string, folder bool) bool {
	for ; g != nil; g = g.above {
		from := rel
		if g.dir != "." {
			from = strings.TrimPrefix(rel, g.dir+"/")
		}
		for i := len(g.rules) - 1; i >= 0; i-- {
			if g.rules[i].speaksOf(from, folder) {
				return !g.rules[i].negated
			}
		}
	}
	return false
}

func (r *ignoreRule) speaksOf(rel string, folder bool) bool {
	if r.folders && !folder {
		return false
	}
	subject := rel
	if !r.whole {
		subject = path.Base(rel)
	}
	switch {
	case r.re != nil:
		return r.re.MatchString(subject)
	case r.ending != "":
		return strings.HasSuffix(subject, r.ending)
	default:
		return subject == r.name
	}
}
