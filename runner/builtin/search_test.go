package builtin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSearchFindsLinesAndHelpsWithEverythingElse(t *testing.T) {
	t.Parallel()
	w := bench(t, map[string]string{
		"a.go": "package a\nfunc Foo() {}\nvar x = Foo(1)\r\n", "sub/b.go": "package b\n// foo bar\n", "sub/c.ts": "foo();\nlet a = [1];\n",
		"node_modules/m.js": "Foo", ".gitignore": "node_modules\n*.log\n", "x.log": "Foo", "bin": "Foo\x00\x01", ".git/config": "Foo", "link": "-> a.go",
		"long.txt": strings.Repeat("-", 1000) + "needle" + strings.Repeat("-", 1000) + "\n", "last": "no end Zed", "latin": "caf\xe9 Zed\n",
		"empty": "", "many": strings.Repeat("hit\n", 300), ".hidden/h.go": "Hidden\n",
	})
	if err := syscall.Mkfifo(filepath.Join(w.checkout.dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		input  any
		want   string // the whole result, or with "…" before it a part
		failed bool
	}{
		{"literal", obj{"pattern": "Foo"}, "a.go:2:func Foo() {}\na.go:3:var x = Foo(1)\n", false},
		{"expression", obj{"pattern": `^func \w+\(`}, "a.go:2:func Foo() {}\n", false},
		{"without a fixed part", obj{"pattern": `^[a-z]+\(\);$`}, "sub/c.ts:1:foo();\n", false},
		{"end of a line with a carriage return", obj{"pattern": `[0-9]\)$`}, "a.go:3:var x = Foo(1)\n", false},
		{"any case", obj{"pattern": "FOO", "ignore_case": true, "glob": "*.ts"}, "sub/c.ts:1:foo();\n", false},
		{"alternatives", obj{"pattern": "bar|let"}, "sub/b.go:2:// foo bar\nsub/c.ts:2:let a = [1];\n", false},
		{"glob by name", obj{"pattern": "foo", "glob": "*.{go,rs}"}, "sub/b.go:2:// foo bar\n", false},
		{"glob by path", obj{"pattern": "o", "glob": "sub/**/*.ts"}, "sub/c.ts:1:foo();\n", false},
		{"files only", obj{"glob": "*.go"}, ".hidden/h.go\na.go\nsub/b.go\n", false},
		{"folder", obj{"pattern": "foo", "path": "sub"}, "sub/b.go:2:// foo bar\nsub/c.ts:1:foo();\n", false},
		{"file", obj{"pattern": "foo", "path": "sub/b.go"}, "sub/b.go:2:// foo bar\n", false},
		{"ignored file that is named", obj{"pattern": "Foo", "path": "x.log"}, "x.log:1:Foo\n", false},
		{"ignored folder that is named", obj{"pattern": "Foo", "path": "node_modules"}, "node_modules/m.js:1:Foo\n", false},
		{"line without end, and one not UTF-8", obj{"pattern": "Zed"}, "last:1:no end Zed\nlatin:1:caf\ufffd Zed\n", false},
		{"hidden", obj{"pattern": "Hidden"}, ".hidden/h.go:1:Hidden\n", false},
		{"long line", obj{"pattern": "needle"}, "… more bytes]\n", false},
		{"not an expression", obj{"pattern": "Foo(1"}, "…[The pattern is not a regular expression (missing closing ): `Foo(1`), so it was searched for as plain text.", false},
		{"not an expression, found", obj{"pattern": "[1"}, "…sub/c.ts:2:let a = [1];\n", false},
		{"limit", obj{"pattern": "hit", "limit": 2}, "many:1:hit\nmany:2:hit\n[2 shown of 300 in 1 files; narrow the pattern, path or glob]\n", false},
		{"nothing", obj{"pattern": "absent"}, "…No match in ", false},
		{"across lines", obj{"pattern": `package a\nfunc`}, "…No match", false},
		{"empty lines only", obj{"pattern": `^$`, "path": "sub"}, "…No match", false},
		{"everything optional", obj{"pattern": `z*`, "path": "sub/b.go"}, "sub/b.go:1:package b\nsub/b.go:2:// foo bar\n", false},
		{"neither pattern nor glob", obj{}, "…Give a pattern", true},
		{"bad glob", obj{"glob": "[a"}, "…The glob", true},
		{"missing path", obj{"pattern": "x", "path": "none"}, "…There is no none.", true},
		{"outside", obj{"pattern": "root", "path": "/etc"}, "…outside the checkout", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := use(t, w, "search", c.input)
			part, partial := strings.CutPrefix(c.want, "…")
			if r.failed != c.failed || (!partial && r.text != c.want) || (partial && !strings.Contains(r.text, part)) {
				t.Errorf("search = failed %t\n%s\nwant failed %t\n%s", r.failed, r.text, c.failed, c.want)
			}
		})
	}
}

func TestSearchIsBoundedOnAHostileTree(t *testing.T) {
	t.Parallel()
	w := bench(t, map[string]string{"deep": ""})
	one := strings.Repeat("a", 8<<20) // one line, on which a backtracking engine would never end
	for i := range 4 {
		if err := os.WriteFile(filepath.Join(w.checkout.dir, fmt.Sprint("big", i)), []byte(one), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	deep := w.checkout.dir
	for range 200 {
		deep = filepath.Join(deep, "d")
	}
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(deep, "f"), []byte("treasure\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := use(t, w, "search", obj{"pattern": "treasure"}); !strings.Contains(r.text, "/d/f:1:treasure") {
		t.Errorf("deep file: %q", clip(r.text, 300))
	}
	if r := use(t, w, "search", obj{"pattern": "(a+)+b"}); !strings.Contains(r.text, "No match") {
		t.Errorf("evil pattern: %q", clip(r.text, 300))
	}
	if r := use(t, w, "search", obj{"pattern": "a"}); len(r.text) > 4096 {
		t.Errorf("%d bytes for lines of 8 MiB", len(r.text))
	}
	var lines strings.Builder
	for range maxCollected {
		lines.WriteString("match me\n")
	}
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(w.checkout.dir, fmt.Sprint("lines", i)), []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r := use(t, w, "search", obj{"pattern": "match"}); !strings.Contains(r.text, "at least") || strings.Count(r.text, "\n") > 102 {
		t.Errorf("many matches: %q", clip(r.text, 300))
	}
}

func TestSearchEndsWhenTheTurnIsCancelled(t *testing.T) {
	t.Parallel()
	w := bench(t, map[string]string{"a": "x"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := useIn(ctx, t, w, "search", obj{"pattern": "x"}); !r.failed || r.text != "Cancelled." {
		t.Errorf("search = %+v", r)
	}
}

func TestTheFixedPartOfAnExpressionIsInEveryMatch(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`foo`: "foo", `foo\.bar`: "foo.bar", `^func \w+\(`: "func ", `a|b`: "", `(?i)foo`: "", `x*foo`: "foo", `(abc)+d`: "abc", `(?:ab){2,}`: "ab",
		`(?:ab){0,2}c`: "c", `[f]oo`: "foo", `fo?o`: "f", ``: "", `\bword\b`: "word", `foo(?:bar|baz)quux`: "quux",
	} {
		if got := required(expression); !strings.Contains(want, got) || (want != "" && got == "") {
			t.Errorf("required(%q) = %q, want %q", expression, got, want)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"a", "b", "ab", "(a|b)", "(ab)+", "c*", "[ab]", ".", "(?i)A", "b{2}", "(c|)", "^", "$"}
	subject := []string{"a", "b", "c", "A"}
	for range 3000 {
		var e, s strings.Builder
		for range 1 + random.IntN(4) {
			e.WriteString(alphabet[random.IntN(len(alphabet))])
		}
		for range random.IntN(8) {
			s.WriteString(subject[random.IntN(len(subject))])
		}
		if part := required(e.String()); regexp.MustCompile(e.String()).MatchString(s.String()) && !strings.Contains(s.String(), part) {
			t.Fatalf("%q matches %q, which does not contain %q", e.String(), s.String(), part)
		}
	}
}

// gitIgnores asks git itself which of the paths it ignores.
func gitIgnores(t *testing.T, dir string, paths []string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "-z", "--stdin")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("git check-ignore: %v", err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}

// ourIgnores walks like the tools do; what the walk does not reach is ignored.
func ourIgnores(t *testing.T, w *workbench, paths []string) []string {
	t.Helper()
	start, err := w.checkout.enter(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, len(paths)+100)
	walk(t.Context(), start, func(f *folder, name string) { seen <- filepath.Join(f.rel, name) })
	close(seen)
	reached := map[string]bool{}
	for p := range seen {
		reached[p] = true
	}
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return reached[p] })
}

func TestIgnoringAgreesWithGit(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 11))
	names := []string{"a", "b", "ab", "a.log", "b.log", "x y", "#c", "!d", "e[1]", "-f"}
	pieces := []string{"a", "b", "ab", "*", "**", "?", "*.log", "[ab]", "[!a]", "a*", "/", "/", "/", "\\#c", "\\!d", "x y", "[a-b]", "**/", "/**", "e\\[1]", "[", "[]a]", "[^b]*"}
	for round := range 40 {
		w := bench(t, nil)
		if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", w.checkout.dir).CombinedOutput(); err != nil {
			t.Fatalf("git init: %v %s", err, out)
		}
		var paths []string
		for range 40 {
			var p []string
			for range 1 + random.IntN(3) {
				p = append(p, names[random.IntN(len(names))])
			}
			name := filepath.Join(p...)
			full := filepath.Join(w.checkout.dir, name)
			if os.MkdirAll(filepath.Dir(full), 0o755) == nil && os.WriteFile(full, nil, 0o644) == nil {
				paths = append(paths, name)
			}
		}
		paths = slices.DeleteFunc(paths, func(p string) bool { // a folder took its place
			info, err := os.Stat(filepath.Join(w.checkout.dir, p))
			return err != nil || info.IsDir()
		})
		slices.Sort(paths)
		paths = slices.Compact(paths)
		rules := map[string]string{}
		for _, dir := range []string{".", "a", "a/b"} {
			var text strings.Builder
			for range random.IntN(5) {
				if random.IntN(4) == 0 {
					text.WriteString("!")
				}
				for range 1 + random.IntN(3) {
					text.WriteString(pieces[random.IntN(len(pieces))])
				}
				text.WriteString([]string{"", "/", " ", "\\ "}[random.IntN(4)] + "\n")
			}
			if info, err := os.Stat(filepath.Join(w.checkout.dir, dir)); err == nil && info.IsDir() {
				if err := os.WriteFile(filepath.Join(w.checkout.dir, dir, ".gitignore"), []byte(text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				rules[dir] = text.String()
			}
		}
		want, got := gitIgnores(t, w.checkout.dir, paths), ourIgnores(t, w, paths)
		if diff := cmp.Diff(want, got, cmp.Transformer("sort", func(s []string) []string { s = slices.Clone(s); slices.Sort(s); return append([]string{}, s...) })); diff != "" {
			t.Fatalf("round %d, rules %q (-git +ours):\n%s", round, rules, diff)
		}
	}
}

// tree generates a tree of n source files of about 3 KB in folders of 50.
func tree(tb testing.TB, n int) *workbench {
	tb.Helper()
	w := bench(tb, map[string]string{".gitignore": "*.o\nbuild/\n"})
	random := rand.New(rand.NewPCG(3, 4))
	words := strings.Fields("func return if err nil range string context package import type struct handler request response value index buffer writer reader")
	for i := range n {
		var b strings.Builder
		for b.Len() < 3000 {
			for range 8 {
				b.WriteString(words[random.IntN(len(words))])
				b.WriteByte(' ')
			}
			b.WriteByte('\n')
		}
		if i%1000 == 500 {
			fmt.Fprintf(&b, "the_needle_%d\n", i)
		}
		dir := filepath.Join(w.checkout.dir, fmt.Sprintf("m%d/p%d", i/500, i/50))
		if i%50 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				tb.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%d.go", i)), []byte(b.String()), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return w
}

func TestSearchOfTenThousandFilesFindsWhatGrepFinds(t *testing.T) {
	t.Parallel()
	w := tree(t, 10_000)
	for _, pattern := range []string{"the_needle_[0-9]+", "[a-z]+_needle"} {
		r := use(t, w, "search", obj{"pattern": pattern})
		out, err := exec.CommandContext(t.Context(), "grep", "-rnE", pattern, "--exclude=.gitignore", w.checkout.dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(out), w.checkout.dir+"/", "")), "\n")
		got := strings.Split(strings.TrimSpace(r.text), "\n")
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || len(got) != 10 {
			t.Errorf("%s: %d hits (-grep +ours):\n%s", pattern, len(got), diff)
		}
	}
}

// BenchmarkSearch searches 10,000 files and reports how that compares with rg,
// or grep where there is none, on the same tree (below 1 is faster).
func BenchmarkSearch(b *testing.B) {
	w := tree(b, 10_000)
	program := []string{"grep", "-rnE"}
	if _, err := exec.LookPath("rg"); err == nil {
		program = []string{"rg", "-n"}
	}
	for name, pattern := range map[string]string{"literal": "the_needle_", "expression": `[a-z]+_needle_\d+`, "absent": "nowhere_to_be_found", "slow": `(index|buffer) \w+dle_`} {
		b.Run(name, func(b *testing.B) {
			var ours, theirs time.Duration
			for b.Loop() {
				start := time.Now()
				if r := use(b, w, "search", obj{"pattern": pattern}); r.failed {
					b.Fatal(r.text)
				}
				ours += time.Since(start)
				b.StopTimer()
				start = time.Now()
				_ = exec.CommandContext(b.Context(), program[0], append(program[1:], pattern, w.checkout.dir)...).Run() // 1 for no match
				theirs += time.Since(start)
				b.StartTimer()
			}
			b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "ms/search")
			b.ReportMetric(float64(theirs.Milliseconds())/float64(b.N), program[0]+"-ms/search")
			b.ReportMetric(float64(ours)/float64(theirs), "of-"+program[0])
		})
	}
}
