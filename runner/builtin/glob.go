package builtin

import (
	"path"
	"regexp"
	"strings"
)

// special is the signs that make a pattern more than a name.
const special = `*?[\`

// translate turns a path pattern, as git and editors write them, into a regular
// expression for a whole slash-separated path. With braces, {a,b} means either.
// A pattern that cannot be one, as an open bracket, is reported by ok.
func translate(pattern string, braces bool) (re *regexp.Regexp, ok bool) {
	var b strings.Builder
	b.WriteString(`\A`)
	depth := 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			i += star(&b, pattern, i, !braces)
		case '?':
			b.WriteString(`[^/]`)
		case '[':
			class, n, ok := bracket(pattern[i:])
			if !ok {
				return nil, false
			}
			b.WriteString(class)
			i += n - 1
		case '\\':
			if i+1 >= len(pattern) {
				return nil, false
			}
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case '{', '}', ',':
			depth = brace(&b, c, depth, braces)
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(`(?s)` + b.String())
	return re, err == nil && depth == 0
}

// star writes what the stars at i stand for and returns how many bytes more
// than one it took. Git compares the plain text at a pattern's beginning first
// and takes what follows for a new beginning, so "a**/b" is "a" and "**/b" to it.
func star(b *strings.Builder, pattern string, i int, git bool) int {
	n := 1
	for i+n < len(pattern) && pattern[i+n] == '*' {
		n++
	}
	atStart := i == 0 || pattern[i-1] == '/' || (git && !strings.ContainsAny(pattern[:i], special))
	switch {
	case n < 2 || !atStart: // in the middle of a name, many stars are one
		b.WriteString(`[^/]*`)
	case i+n == len(pattern):
		b.WriteString(`.*`) // "dir/**": everything below
	case pattern[i+n] == '/':
		b.WriteString(`(?:[^/]*/)*`) // "**/": any number of folders
		return n
	default:
		b.WriteString(`[^/]*`)
	}
	return n - 1
}

func brace(b *strings.Builder, c byte, depth int, braces bool) int {
	switch {
	case braces && c == '{':
		b.WriteString(`(?:`)
		return depth + 1
	case braces && c == '}' && depth > 0:
		b.WriteString(`)`)
		return depth - 1
	case braces && c == ',' && depth > 0:
		b.WriteString(`|`)
	default:
		b.WriteString(regexp.QuoteMeta(string(c)))
	}
	return depth
}

// bracket reads a character class at the beginning of p and returns it as a
// regular expression, with the number of bytes that it took. Like git's, it
// never matches a slash.
func bracket(p string) (class string, n int, ok bool) {
	var b strings.Builder
	i := 1
	b.WriteString(`[`)
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		b.WriteString(`^/`)
		i++
	}
	for first := true; i < len(p); first = false {
		switch c := p[i]; {
		case c == ']' && !first:
			b.WriteString(`]`)
			return b.String(), i + 1, true
		case c == '[' && strings.HasPrefix(p[i:], "[:") && strings.Contains(p[i:], ":]"):
			end := i + strings.Index(p[i:], ":]") + 2
			b.WriteString(p[i:end])
			i = end
			continue
		case c == '\\' && i+1 < len(p):
			i++
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		case c == '-':
			b.WriteString(dash(p, i, first))
		case c == '/': // never matched
		default:
			b.WriteString(quoteInClass(c))
		}
		i++
	}
	return "", 0, false
}

func dash(p string, i int, first bool) string {
	if first || i+1 >= len(p) || p[i+1] == ']' {
		return `\-`
	}
	return `-`
}

func quoteInClass(c byte) string {
	if strings.IndexByte(`\]^[&~`, c) >= 0 {
		return `\` + string(c)
	}
	return string(c)
}

// pathFilter makes the test that a glob of the model's stands for: one without
// a slash is about names, one with a slash about paths from the checkout on.
func pathFilter(glob string) (func(rel string) bool, error) {
	if glob == "" {
		return func(string) bool { return true }, nil
	}
	re, ok := translate(strings.TrimPrefix(strings.TrimPrefix(glob, "./"), "/"), true)
	if !ok {
		return nil, misused("The glob %q cannot be read. Examples: *.go, src/**/*.ts, *.{js,jsx}.", clip(glob, 200))
	}
	if !strings.Contains(glob, "/") {
		return func(rel string) bool { return re.MatchString(path.Base(rel)) }, nil
	}
	return re.MatchString, nil
}
