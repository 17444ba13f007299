package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bench makes a checkout with the given files; a name that ends in a slash is a
// folder, and a content "-> x" is a symbolic link to x.
func bench(tb testing.TB, files map[string]string) *workbench {
	tb.Helper()
	dir := tb.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		var err error
		target, link := strings.CutPrefix(content, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case link:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return benchAt(tb, dir)
}

func benchAt(tb testing.TB, dir string) *workbench {
	tb.Helper()
	c, err := openCheckout(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.root.Close() })
	cfg := Config{Env: []string{"PATH=" + os.Getenv("PATH")}}.withDefaults()
	return &workbench{checkout: c, cfg: cfg, plan: func([]planEntry) {}}
}

// use makes one tool call, with the input as JSON or as something to encode.
func use(tb testing.TB, w *workbench, name string, input any) result {
	tb.Helper()
	return useIn(tb.Context(), tb, w, name, input)
}

func useIn(ctx context.Context, tb testing.TB, w *workbench, name string, input any) result {
	tb.Helper()
	raw, ok := input.(string)
	if !ok {
		encoded, err := json.Marshal(input)
		if err != nil {
			tb.Fatal(err)
		}
		raw = string(encoded)
	}
	return prepareCall(w, toolbox(), block{Type: blockToolUse, Name: name, Input: json.RawMessage(raw)}, false).do(ctx)
}

func content(tb testing.TB, w *workbench, name string) string {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join(w.checkout.dir, name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(raw)
}

type obj = map[string]any

func TestReadShowsNumberedLinesAndHelpsWithEverythingElse(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("canary"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := bench(t, map[string]string{
		"a.txt": "one\ntwo\n\nfour", "empty": "", "crlf": "a\r\nb\r\n", "dir/main_test.go": "package x\n",
		"bin": "ELF\x00\x01", "latin": "caf\xe9\n", "long": strings.Repeat("x", 5000) + "\nend\n",
		"many": strings.Repeat("line\n", 3000), "wide": strings.Repeat(strings.Repeat("y", 1500)+"\n", 100),
		"inside": "-> a.txt", "out": "-> " + outside, "up": "-> ../../../etc/passwd", "loop": "-> loop",
	})
	if err := syscall.Mkfifo(filepath.Join(w.checkout.dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		input  any
		want   string // contained in the result
		failed bool
	}{
		{"whole", obj{"path": "a.txt"}, "     1\tone\n     2\ttwo\n     3\t\n     4\tfour\n", false},
		{"absolute", obj{"path": filepath.Join(w.checkout.dir, "a.txt")}, "     1\tone\n", false},
		{"dotted", obj{"path": "./dir/../a.txt"}, "     1\tone\n", false},
		{"window", obj{"path": "a.txt", "offset": 2, "limit": 1}, "     2\ttwo\n[lines 2 to 2 of 4; go on with offset 3]\n", false},
		{"past the end", obj{"path": "a.txt", "offset": 9}, "a.txt has 4 lines; line 9 is past its end", true},
		{"empty", obj{"path": "empty"}, "empty is empty", false},
		{"carriage returns", obj{"path": "crlf"}, "     1\ta\n     2\tb\n", false},
		{"binary", obj{"path": "bin"}, "is a binary file of 5 bytes", true},
		{"not UTF-8", obj{"path": "latin"}, "caf\ufffd\n", false},
		{"long line", obj{"path": "long"}, "x… [3000 more bytes]\n     2\tend\n", false},
		{"many lines", obj{"path": "many"}, "[lines 1 to 2000 of 3000; go on with offset 2001]", false},
		{"wide lines", obj{"path": "wide"}, "of 100; go on with offset", false},
		{"link inside", obj{"path": "inside"}, "     1\tone\n", false},
		{"link outside", obj{"path": "out"}, "leads out of the checkout through a symbolic link", true},
		{"link up", obj{"path": "up"}, "leads out of the checkout through a symbolic link", true},
		{"link loop", obj{"path": "loop"}, "loop", true},
		{"pipe without a writer", obj{"path": "pipe"}, "is not a regular file", true},
		{"folder", obj{"path": "dir"}, "dir is a folder. Use list", true},
		{"missing", obj{"path": "dir/main_tset.go"}, "Did you mean dir/main_test.go?", true},
		{"missing folder", obj{"path": "no/such"}, "folder does not exist either", true},
		{"file as folder", obj{"path": "a.txt/b"}, "a.txt", true},
		{"parent", obj{"path": "../x"}, "leads out of the checkout", true},
		{"other root", obj{"path": "/etc/passwd"}, "is outside the checkout", true},
		{"sibling with the same beginning", obj{"path": w.checkout.dir + "-other/x"}, "is outside the checkout", true},
		{"NUL", obj{"path": "a\x00b"}, "NUL", true},
		{"none", obj{}, "path is missing", true},
		{"endless name", obj{"path": strings.Repeat("n", 5000)}, "too long", true},
		{"wrong type", `{"path":7}`, "must match this schema", true},
		{"no JSON", `{"path":`, "must match this schema", true},
		{"no object", `[]`, "must match this schema", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := use(t, w, "read", c.input)
			if !strings.Contains(r.text, c.want) || r.failed != c.failed {
				t.Errorf("read = failed %t, %q\nwant failed %t, %q", r.failed, clip(r.text, 600), c.failed, c.want)
			}
			if strings.Contains(r.text, "canary") || strings.Contains(r.text, "root:") {
				t.Error("the file outside was read")
			}
			if len(r.text) > maxReadText+16<<10 {
				t.Errorf("%d bytes are too many for the model", len(r.text))
			}
		})
	}
}

func TestReadOfAHugeFileWithoutLineEndsStaysSmall(t *testing.T) {
	t.Parallel()
	w := bench(t, nil)
	for name, size := range map[string]int64{"huge": 60 << 20, "too_huge": maxReadBytes + 1} {
		f, err := os.Create(filepath.Join(w.checkout.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for written := int64(0); written < size; written += 1 << 20 {
			if _, err := f.WriteString(strings.Repeat("z", int(min(1<<20, size-written)))); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if r := use(t, w, "read", obj{"path": "huge"}); r.failed || len(r.text) > 3000 {
		t.Errorf("huge: failed %t, %d bytes", r.failed, len(r.text))
	}
	if r := use(t, w, "read", obj{"path": "too_huge"}); !r.failed || !strings.Contains(r.text, "Look at it with a command") {
		t.Errorf("too_huge: %q", r.text)
	}
}

func TestEditReplacesExactlyOncePlaceAndHelpsOtherwise(t *testing.T) {
	t.Parallel()
	const code = "package x\n\nfunc a() {\n\treturn 1\n}\n\nfunc b() {\n\treturn 1\n}\n"
	for _, c := range []struct {
		name   string
		before string
		input  obj
		after  string // the same as before if empty
		want   []string
	}{
		{"once", code, obj{"old": "func a() {\n\treturn 1", "new": "func a() {\n\treturn 2"}, strings.Replace(code, "return 1", "return 2", 1), []string{"Edited f.go.", "     4\t\treturn 2"}},
		{"deletion", code, obj{"old": "func b() {\n\treturn 1\n}\n", "new": ""}, "package x\n\nfunc a() {\n\treturn 1\n}\n\n", []string{"Edited"}},
		{"to nothing", "x", obj{"old": "x", "new": ""}, "\x00empty", []string{"Edited"}},
		{"twice", code, obj{"old": "return 1", "new": "return 2"}, "", []string{"2 times, at lines 4, 8", "replace_all", "Nothing was changed"}},
		{"all", code, obj{"old": "return 1", "new": "return 2", "replace_all": true}, strings.ReplaceAll(code, "return 1", "return 2"), []string{"in 2 places"}},
		{"signs of patterns", "a.*b $1 \\n", obj{"old": ".*b $1 \\n", "new": "$0 & \\1"}, "a$0 & \\1", []string{"Edited"}},
		{"spaces for tabs", code, obj{"old": "func a() {\n    return 1\n}", "new": "x"}, "", []string{"Line 3 differs only in whitespace", "the file has 1 tabs of indentation, old has 4 spaces", "     4\t\treturn 1"}},
		{"blanks at the end", "a b\nsecond\n", obj{"old": "a b \nsecond", "new": "x"}, "", []string{"old has no indentation and blanks at the end"}},
		{"a slip", code, obj{"old": "func a() {\n\treturn 11\n}", "new": "x"}, "", []string{"not in f.go exactly", "     3\tfunc a() {"}},
		{"nothing like it", code, obj{"old": "zzzzqqqq", "new": "x"}, "", []string{"nor anything like it"}},
		{"line numbers", code, obj{"old": "     4\t\treturn 1", "new": "x"}, "", []string{"not in f.go exactly", "     4\t\treturn 1"}},
		{"no change", code, obj{"old": "return 1", "new": "return 1"}, "", []string{"the same"}},
		{"empty old", code, obj{"old": "", "new": "x"}, "", []string{"old is empty"}},
		{"empty file", "", obj{"old": "", "new": "x"}, "", []string{"Use write"}},
		{"carriage returns", "a\r\nb\r\nc\r\n", obj{"old": "a\nb", "new": "a\nB\nBB"}, "a\r\nB\r\nBB\r\nc\r\n", []string{"Edited"}},
		{"carriage returns, said", "a\r\nb\r\n", obj{"old": "a\r\n", "new": "A\r\n"}, "A\r\nb\r\n", []string{"Edited"}},
		{"binary", "a\x00b", obj{"old": "a", "new": "b"}, "", []string{"binary"}},
		{"only whitespace, not there", code, obj{"old": "\n\n\n\n", "new": "x"}, "", []string{"nor anything like it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := bench(t, map[string]string{"f.go": c.before})
			c.input["path"] = "f.go"
			r := use(t, w, "edit", c.input)
			for _, want := range c.want {
				if !strings.Contains(r.text, want) {
					t.Errorf("result = %q, want it to contain %q", r.text, want)
				}
			}
			after, changes := c.after, c.after != ""
			switch after {
			case "":
				after = c.before
			case "\x00empty":
				after = ""
			}
			if diff := cmp.Diff(after, content(t, w, "f.go")); diff != "" || r.failed == changes || r.changed != changes || (r.diff != nil) != changes {
				t.Errorf("failed %t, changed %t, diff %v; file (-want +got):\n%s", r.failed, r.changed, r.diff, diff)
			}
		})
	}
}

func TestEditShowsTheNearestOfManyLinesQuickly(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&file, "\tvalue%d := compute(%d, alpha, beta)\n", i, i)
	}
	w := bench(t, map[string]string{"big.go": file.String()})
	r := use(t, w, "edit", obj{"path": "big.go", "old": "\tvalue41234 := compute(41234, alpha, gamma)", "new": "x"})
	if !r.failed || !strings.Contains(r.text, " 41235\t\tvalue41234 := compute(41234, alpha, beta)") {
		t.Errorf("result = %q", r.text)
	}
}

func TestDiffsShowThePassageThatChangedAndItsLine(t *testing.T) {
	t.Parallel()
	var before strings.Builder
	for i := range 50 {
		fmt.Fprintf(&before, "l%d\n", i+1)
	}
	w := bench(t, map[string]string{"f": before.String()})
	r := use(t, w, "edit", obj{"path": "f", "old": "l20\n", "new": "new\nnewer\n"})
	want := &diff{Type: "diff", Path: filepath.Join(w.checkout.dir, "f"), Old: new("l17\nl18\nl19\nl20\nl21\nl22\nl23\n"), New: "l17\nl18\nl19\nnew\nnewer\nl21\nl22\nl23\n", Meta: map[string]any{"corp": map[string]any{"line": 17}}}
	if diff := cmp.Diff(want, r.diff); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Attack case 53. Control: files of the checkout are written, also through links within it.
func TestWriteCreatesOverwritesAndStaysInTheCheckout(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	w := bench(t, map[string]string{"old.sh": "#!/bin/sh\n", "file": "x", "dir/": "", ".git/config": "[core]\n", "in": "-> old.sh", "out": "-> " + outside, "bin": "a\x00b"})
	if err := os.Chmod(filepath.Join(w.checkout.dir, "old.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path, want string
		failed           bool
	}{
		{"new, with folders", "a/b/c.txt", "Created a/b/c.txt, 4 bytes.", false},
		{"overwrite", "old.sh", "Overwrote old.sh", false},
		{"binary", "bin", "Overwrote bin", false},
		{"through a link", "in", "Overwrote in", false},
		{"folder", "dir", "dir is a folder", true},
		{"below a file", "file/x", "file", true},
		{"through a link outside", "out/x", "leads out of the checkout", true},
		{"a link outside", "out", "leads out of the checkout", true},
		{"git", ".git/config", "is not to be edited", true},
		{"git, other case", "sub/.GIT/hooks/pre-commit", "is not to be edited", true},
		{"itself", ".", "names the checkout itself", true},
		{"parent", "../x", "leads out", true},
	} {
		r := use(t, w, "write", obj{"path": c.path, "content": "new\n"})
		if !strings.Contains(r.text, c.want) || r.failed != c.failed {
			t.Errorf("%s: failed %t, %q; want failed %t, %q", c.name, r.failed, r.text, c.failed, c.want)
		}
		if !c.failed && (content(t, w, c.path) != "new\n" || r.diff == nil) {
			t.Errorf("%s: file = %q, diff = %v", c.name, content(t, w, c.path), r.diff)
		}
	}
	if info, err := os.Stat(filepath.Join(w.checkout.dir, "old.sh")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode = %v, %v; want it kept", info.Mode(), err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("outside there is %v, %v", entries, err)
	}
	if r := use(t, w, "write", obj{"path": "x"}); !r.failed || !strings.Contains(r.text, "content is missing") {
		t.Errorf("without content: %q", r.text)
	}
	if r := use(t, w, "write", obj{"path": "void", "content": ""}); r.failed || content(t, w, "void") != "" {
		t.Errorf("empty content: %q", r.text)
	}
	left, err := filepath.Glob(filepath.Join(w.checkout.dir, "*.tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestListShowsATreeWithoutWhatIsIgnored(t *testing.T) {
	t.Parallel()
	w := bench(t, map[string]string{
		".gitignore": "*.log\n/build/\n", ".git/HEAD": "ref", "a.go": "", "x.log": "", "build/out": "",
		"sub/.gitignore": "!keep.log\nlocal\n", "sub/keep.log": "", "sub/local": "", "sub/build/kept": "", "sub/deep/er/est/f": "", "link": "-> /etc",
	})
	r := use(t, w, "list", obj{})
	want := ".gitignore\na.go\nlink\nsub/\n  .gitignore\n  build/\n    kept\n  deep/\n    er/\n  keep.log\n[3 levels; folders may have more below]\n"
	if diff := cmp.Diff(want, r.text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		input  obj
		want   string
		failed bool
	}{
		{obj{"path": "sub", "depth": 1}, ".gitignore\nbuild/\ndeep/\nkeep.log\n[1 levels", false},
		{obj{"path": "sub/deep/er/est"}, "f\n", false},
		{obj{"path": "build"}, "out\n", false}, // named, so shown
		{obj{"path": "none"}, "There is no none.", true},
		{obj{"path": "a.go"}, "a.go", true},
		{obj{"path": "link"}, "leads out", true},
		{obj{"path": ".."}, "leads out", true},
	} {
		if r := use(t, w, "list", c.input); !strings.HasPrefix(r.text, c.want) && !strings.Contains(r.text, c.want) || r.failed != c.failed {
			t.Errorf("list %v = failed %t, %q; want %q", c.input, r.failed, r.text, c.want)
		}
	}
}

func TestListOfAVeryLargeFolderIsCutAndKeepsTheTopLevel(t *testing.T) {
	t.Parallel()
	files := map[string]string{"zzz/": ""}
	for i := range 700 {
		files[fmt.Sprintf("aaa/f%04d", i)] = ""
	}
	r := use(t, bench(t, files), "list", obj{})
	if !strings.Contains(r.text, "zzz/") || !strings.Contains(r.text, "[the first 500 entries") || strings.Count(r.text, "\n") > 502 {
		t.Errorf("list = %q…", clip(r.text, 200))
	}
	if r := use(t, bench(t, nil), "list", obj{}); !strings.Contains(r.text, "is empty") {
		t.Errorf("an empty checkout: %q", r.text)
	}
}

func TestPlanIsShownWholeAndCheckedFirst(t *testing.T) {
	t.Parallel()
	w := bench(t, nil)
	var shown []planEntry
	w.plan = func(e []planEntry) { shown = e }
	for _, input := range []string{`{}`, `{"entries":[]}`, `{"entries":[{"content":"x","status":"doing"}]}`, `{"entries":[{"content":"","status":"pending"}]}`, `{"entries":"x"}`} {
		if r := use(t, w, "plan", input); !r.failed || shown != nil {
			t.Errorf("plan %s = %q, shown %v", input, r.text, shown)
		}
	}
	r := use(t, w, "plan", `{"entries":[{"content":"look","status":"completed"},{"content":"fix","status":"in_progress","priority":"high"}]}`)
	want := []planEntry{{Content: "look", Status: "completed", Priority: "medium"}, {Content: "fix", Status: "in_progress", Priority: "high"}}
	if diff := cmp.Diff(want, shown); diff != "" || !strings.Contains(r.text, "1 of 2") {
		t.Errorf("%q (-want +got):\n%s", r.text, diff)
	}
}

func TestAnUnknownToolIsAnsweredWithTheToolsThereAre(t *testing.T) {
	t.Parallel()
	r := use(t, bench(t, nil), "bash", obj{"command": "id"})
	if !r.failed || !strings.Contains(r.text, `no tool "bash"`) || !strings.Contains(r.text, "read, list, search, edit, write, run, plan") {
		t.Errorf("result = %q", r.text)
	}
}

func TestAFullDiskEndsTheTurnWithItsOwnReason(t *testing.T) {
	t.Parallel()
	w := bench(t, nil)
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		r := failure(w.checkout.explain("f", &os.PathError{Op: "write", Path: "f", Err: cause}))
		if r.stop == nil || r.stop.reason != "disk_full" || !r.failed {
			t.Errorf("%v = %+v", cause, r)
		}
	}
	if r := failure(w.checkout.explain("f", &os.PathError{Op: "write", Path: "f", Err: syscall.EIO})); r.stop != nil || !strings.Contains(r.text, "machine's side") {
		t.Errorf("EIO = %+v", r)
	}
}

func TestEveryToolsSchemaIsJSONAndNamesItsRequiredFields(t *testing.T) {
	t.Parallel()
	for _, tool := range toolbox() {
		var schema struct {
			Type       string         `json:"type"`
			Properties map[string]any `json:"properties"`
			Required   []string       `json:"required"`
		}
		if err := json.Unmarshal(tool.spec.InputSchema, &schema); err != nil || schema.Type != "object" || len(schema.Properties) == 0 {
			t.Errorf("%s: %v %+v", tool.spec.Name, err, schema)
		}
		for _, field := range schema.Required {
			if schema.Properties[field] == nil {
				t.Errorf("%s requires %s, which it does not describe", tool.spec.Name, field)
			}
		}
	}
}
