// Package cases_test writes down which test makes which of the numbered attacks,
// and which attacks have none and why. The tests name their numbers themselves, in
// a line of their comment:
//
//	// Attack cases 17 and 18. Control: what is done rightly and succeeds.
//
// The attacks and the reasons stand in cases.yaml; docs/security/cases.md is made
// of both. It runs none of the tests.
package cases_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write docs/security/cases.md anew")

const (
	root  = "../.."
	table = "docs/security/cases.md"
	again = "go test ./test/cases -update"
)

// chapter is a part of the list of attacks.
type chapter struct {
	Chapter string
	Cases   []attackCase
}

// attackCase is one numbered attack: with tests, or with the reason why there is none.
type attackCase struct {
	N       int
	Attack  string
	None    string // why there is no test
	Besides string // what of the attack the tests leave out, and why
}

// claim is what a test says of itself.
type claim struct {
	file, test, control string
	numbers             []int
}

var directive = regexp.MustCompile(`^Attack cases? (\d+(?:, \d+)*(?: and \d+)?)\. Control: (.+\.)$`)

// claimed reads the line of a test's comment that names its cases.
func claimed(line string) (numbers []int, control string, ok bool) {
	found := directive.FindStringSubmatch(line)
	if found == nil {
		return nil, "", false
	}
	for text := range strings.SplitSeq(strings.ReplaceAll(found[1], " and ", ", "), ", ") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, "", false
		}
		numbers = append(numbers, n)
	}
	return numbers, found[2], true
}

// claimsOf are those of one file. A comment that speaks of attack cases in any
// other form or place is a mistake: it would not be in the table.
func claimsOf(files *token.FileSet, file *ast.File, name string) (claims []claim, mistakes []string) {
	read := map[string]bool{}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Doc == nil || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") && !strings.HasPrefix(fn.Name.Name, "Fuzz") {
			continue
		}
		for _, comment := range fn.Doc.List {
			line := strings.TrimSpace(strings.TrimPrefix(comment.Text, "//"))
			if numbers, control, ok := claimed(line); ok {
				read[files.Position(comment.Pos()).String()] = true
				claims = append(claims, claim{name, fn.Name.Name, control, numbers})
			}
		}
	}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			at := files.Position(comment.Pos()).String()
			if strings.Contains(strings.ToLower(comment.Text), "attack case") && !read[at] {
				mistakes = append(mistakes, at+": not of the form \"// Attack cases 1, 2 and 3. Control: what succeeds.\" above a test")
			}
		}
	}
	return claims, mistakes
}

var testName = regexp.MustCompile(`\bTest[A-Z]\w+`)

// tests are the names of a file's tests.
func tests(file *ast.File) (names []string) {
	for _, decl := range file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && testName.MatchString(fn.Name.Name) {
			names = append(names, fn.Name.Name)
		}
	}
	return names
}

// strangers are the tests that a claim speaks of and that are none.
func strangers(claims []claim, known []string) (mistakes []string) {
	for _, c := range claims {
		for _, name := range testName.FindAllString(c.control, -1) {
			if !slices.Contains(known, name) {
				mistakes = append(mistakes, fmt.Sprintf("%s names %s, which is no test", c.test, name))
			}
		}
	}
	return mistakes
}

// allClaims reads every test of the module.
func allClaims(t *testing.T) (claims []claim) {
	t.Helper()
	files := token.NewFileSet()
	var known []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"node_modules", "testdata", "bin", "cases"}, d.Name())) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(files, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		found, mistakes := claimsOf(files, file, filepath.ToSlash(name))
		claims, known = append(claims, found...), append(known, tests(file)...)
		for _, mistake := range mistakes {
			t.Error(mistake)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, mistake := range strangers(claims, known) {
		t.Error(mistake)
	}
	return claims
}

// page is the table, and what is wrong with what it is made of.
func page(chapters []chapter, claims []claim) (text string, mistakes []string) {
	tests := map[int][]claim{}
	for _, c := range claims {
		for _, n := range c.numbers {
			tests[n] = append(tests[n], c)
		}
	}
	var rows strings.Builder
	count, covered := 0, 0
	for _, ch := range chapters {
		fmt.Fprintf(&rows, "\n## %s\n\n| | attack | tests, each with what succeeds in it |\n|---|---|---|\n", ch.Chapter)
		for _, c := range ch.Cases {
			if count++; c.N != count {
				mistakes = append(mistakes, fmt.Sprintf("case %d stands where case %d belongs", c.N, count))
			}
			of := tests[c.N]
			delete(tests, c.N)
			switch {
			case c.Attack == "":
				mistakes = append(mistakes, fmt.Sprintf("case %d says nothing", c.N))
			case len(of) == 0 && c.None == "":
				mistakes = append(mistakes, fmt.Sprintf("case %d has neither a test nor a reason", c.N))
			case len(of) > 0 && c.None != "":
				mistakes = append(mistakes, fmt.Sprintf("case %d has a test (%s) and a reason why there is none", c.N, of[0].test))
			case len(of) > 0:
				covered++
			}
			fmt.Fprintf(&rows, "| %d | %s | %s |\n", c.N, c.Attack, cell(c, of))
		}
	}
	for n, of := range tests {
		mistakes = append(mistakes, fmt.Sprintf("%s names case %d, which is none", of[0].test, n))
	}
	slices.Sort(mistakes)
	head := fmt.Sprintf("# Attack cases\n\n"+
		"%d attacks that somebody could make, of which %d are made by tests; the rest say why not. Each test also does the same thing rightly and\n"+
		"sees it succeed, so that it cannot pass by refusing everything. The tests name their numbers in their comments, the attacks stand in\n"+
		"[test/cases/cases.yaml](../../test/cases/cases.yaml), and this page is made of both: `%s`.\n", count, covered, again)
	return head + rows.String(), mistakes
}

func cell(c attackCase, of []claim) string {
	if len(of) == 0 {
		return "*None*: " + c.None
	}
	var parts []string
	for _, t := range of {
		parts = append(parts, fmt.Sprintf("[%s.%s](../../%s): %s", path.Base(path.Dir(t.file)), t.test, t.file, strings.ReplaceAll(t.control, "|", `\|`)))
	}
	if c.Besides != "" {
		parts = append(parts, "*Not in it*: "+c.Besides)
	}
	return strings.Join(parts, "<br>")
}

func list(t *testing.T) (chapters []chapter) {
	t.Helper()
	text, err := os.ReadFile("cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&chapters); err != nil {
		t.Fatal(err)
	}
	return chapters
}

// Regenerate with: go test ./test/cases -update
func TestEveryAttackHasATestOrAReasonAndTheTableSaysWhich(t *testing.T) {
	t.Parallel()
	claims := allClaims(t)
	slices.SortStableFunc(claims, func(a, b claim) int { return strings.Compare(a.file+a.test, b.file+b.test) })
	got, mistakes := page(list(t), claims)
	for _, mistake := range mistakes {
		t.Error(mistake)
	}
	name := filepath.Join(root, filepath.FromSlash(table))
	if *update && !t.Failed() {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is out of date; run: %s\n%s", table, again, diff)
	}
}

func TestWhatIsWrongWithTheListIsSaid(t *testing.T) {
	t.Parallel()
	fine := []chapter{{"A", []attackCase{{N: 1, Attack: "x"}, {N: 2, Attack: "y", None: "z"}}}}
	one := claim{"a/b_test.go", "TestB", "c.", []int{1}}
	if text, mistakes := page(fine, []claim{one}); len(mistakes) > 0 || !strings.Contains(text, "[a.TestB](../../a/b_test.go): c. |") || !strings.Contains(text, "2 attacks that somebody could make, of which 1 ") {
		t.Errorf("the control: %v\n%s", mistakes, text)
	}
	for want, c := range map[string]struct {
		chapters []chapter
		claims   []claim
	}{
		"case 1 has neither a test nor a reason":                   {fine, nil},
		"case 2 has a test (TestB) and a reason why there is none": {fine, []claim{one, {"a/b_test.go", "TestB", "c.", []int{2}}}},
		"TestB names case 3, which is none":                        {fine, []claim{one, {"a/b_test.go", "TestB", "c.", []int{3}}}},
		"case 2 stands where case 1 belongs":                       {[]chapter{{"A", []attackCase{{N: 2, Attack: "x", None: "y"}}}}, nil},
		"case 1 says nothing":                                      {[]chapter{{"A", []attackCase{{N: 1, None: "y"}}}}, nil},
	} {
		if _, mistakes := page(c.chapters, c.claims); !slices.Equal(mistakes, []string{want}) {
			t.Errorf("%q, want %q", mistakes, want)
		}
	}
}

func TestAControlNamesOnlyTestsThatThereAre(t *testing.T) {
	t.Parallel()
	claims := []claim{{"a_test.go", "TestA", "it works, in TestBoth.", nil}, {"a_test.go", "TestB", "the test's own, in Testing.", nil}}
	if got := strangers(claims, []string{"TestBoth"}); len(got) > 0 {
		t.Errorf("the control: %v", got)
	}
	if got := strangers(claims, []string{"TestA"}); !slices.Equal(got, []string{"TestA names TestBoth, which is no test"}) {
		t.Error(got)
	}
}

func TestOnlyALineAboveATestIsAClaim(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]int{ // numbers, mistakes
		"// Attack case 7. Control: it works.\nfunc TestA() {}":                           {1, 0},
		"// What it is.\n// Attack cases 7, 8 and 9. Control: it works.\nfunc TestA() {}": {3, 0},
		"// Attack cases 7 and 8. Control: it works.\nfunc FuzzA() {}":                    {2, 0},
		"// Attack case 7: it works.\nfunc TestA() {}":                                    {0, 1},
		"// Attack case 7. Control: \nfunc TestA() {}":                                    {0, 1},
		"// Attack case 7. Control: it works.\nfunc a() {}":                               {0, 1},
		"// Attack case 7. Control: it works.\n\nfunc TestA() {}":                         {0, 1},
		"func TestA() {\n// of attack case 7\n}":                                          {0, 1},
		"// It is quiet.\nfunc TestA() {}":                                                {0, 0},
	} {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, "x_test.go", "package x\n"+text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		claims, mistakes := claimsOf(files, file, "x_test.go")
		n := 0
		for _, c := range claims {
			n += len(c.numbers)
		}
		if n != want[0] || len(mistakes) != want[1] {
			t.Errorf("%q: %d numbers, %q", text, n, mistakes)
		}
	}
}
