package corp_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/genericcorp/corp"

// mayImport is the architecture: for each package, which of our own packages its
// code may import. The root package is ".". Tests may import anything.
var mayImport = map[string][]string{
	".":                         {},
	"api":                       {".", "audit", "blob", "dispatch", "feed", "identity", "identity/oidc", "identity/token", "limit", "mail", "outbound", "postgres", "postgres/door", "postgres/people", "postgres/trail", "seal"},
	"audit":                     {"."},
	"blob":                      {"."},
	"client":                    {"."},
	"client/contexts":           {".", "client"},
	"cmd/corp/batchfile":        {"."},
	"cmd/corp/child":            {},
	"cmd/corp/days":             {},
	"cmd/corp/incident":         {".", "client", "cmd/corp/terminal"},
	"cmd/corp/stepup":           {".", "client"},
	"cmd/corp/terminal":         {".", "client"},
	"dispatch":                  {".", "postgres", "scheduler", "seal"},
	"feed":                      {".", "postgres"},
	"limit":                     {"."},
	"limit/redistest":           {},
	"gateway":                   {".", "gateway/anthropic", "gateway/openai", "gateway/pricebook", "gateway/wire", "limit", "outbound", "postgres", "seal"},
	"gateway/anthropic":         {".", "gateway/wire"},
	"gateway/openai":            {".", "gateway/wire"},
	"gateway/pricebook":         {"."},
	"gateway/wire":              {"."},
	"identity":                  {".", "identity/oidc", "identity/otp", "identity/password", "identity/token", "limit", "postgres/people", "seal"},
	"identity/oidc":             {".", "seal"},
	"identity/oidc/oidctest":    {},
	"identity/otp":              {},
	"identity/password":         {"."},
	"identity/token":            {"."},
	"mail":                      {".", "postgres/people", "seal"},
	"outbound":                  {"."},
	"portal":                    {".", "api", "identity", "identity/oidc", "postgres/people"},
	"postgres":                  {".", "postgres/door", "postgres/hint", "postgres/pgerr", "timetable"},
	"postgres/door":             {".", "audit", "postgres/hint", "postgres/pgerr", "postgres/schema"},
	"postgres/embedded":         {".", "postgres/embedded/bundle"},
	"postgres/embedded/bundle":  {},
	"postgres/embedded/bundler": {"postgres/embedded/bundle"},
	"postgres/hint":             {"."},
	"postgres/migrations":       {},
	"postgres/pgerr":            {"."},
	"postgres/people":           {".", "postgres/door", "postgres/hint"},
	"postgres/pgtest":           {".", "postgres", "postgres/embedded", "postgres/schema"},
	"postgres/schema":           {".", "postgres/migrations", "postgres/pgerr"},
	"postgres/trail":            {".", "audit", "postgres/door", "postgres/pgerr"},
	"reconcile":                 {".", "audit", "postgres", "postgres/door", "postgres/people", "postgres/trail"},
	"runner":                    {".", "client", "outbound", "runner/acp", "runner/gitwork", "runner/sandbox"},
	"runner/acp":                {"."},
	"runner/builtin":            {".", "runner/acp"},
	"runner/gitwork":            {".", "outbound", "runner/sandbox"},
	"runner/sandbox":            {"."},
	"scheduler":                 {"."},
	"seal":                      {},
	"stage":                     {},
	"timetable":                 {"."},
	"vendorsim":                 {},
	"cmd/corp": {
		".", "api", "audit", "blob", "client", "client/contexts", "cmd/corp/batchfile", "cmd/corp/child", "cmd/corp/days", "cmd/corp/incident", "cmd/corp/stepup", "cmd/corp/terminal", "dispatch", "feed", "gateway", "gateway/pricebook", "identity", "identity/oidc", "identity/password", "limit", "mail", "outbound", "portal", "postgres", "postgres/embedded", "postgres/people", "postgres/schema", "postgres/trail",
		"reconcile", "runner", "runner/builtin", "runner/gitwork", "runner/sandbox", "seal", "vendorsim",
	},
	"test":           {},
	"test/cases":     {},
	"test/engine":    {},
	"test/mutations": {},
}

// only names the packages that may import an outside package.
var only = map[string][]string{
	"github.com/jackc/pgx":          {"postgres", "postgres/door", "postgres/people", "postgres/trail", "postgres/hint", "postgres/pgerr", "postgres/pgtest", "postgres/embedded", "postgres/schema"},
	"github.com/pressly/goose":      {"postgres/schema"},
	"github.com/danielgtaylor/huma": {"api"},
	"github.com/robfig/cron":        {"timetable"},
	"github.com/redis/go-redis":     {"limit"},
	"github.com/wneessen/go-mail":   {"mail"},
	"github.com/spf13/cobra":        {"cmd/corp", "cmd/corp/incident"},
	"rsc.io/qr":                     {"portal"},
	"github.com/klauspost/compress": {"postgres/embedded/bundle"},
	"os/exec":                       {"limit/redistest", "runner", "runner/builtin", "runner/gitwork", "runner/sandbox", "postgres/embedded", "cmd/corp", "cmd/corp/child"},
	"testing":                       {"limit/redistest", "postgres/pgtest", "stage"},
	"net/http/httptest":             {},
	"database/sql":                  {"postgres/pgerr", "postgres/schema"},
	"math/rand":                     {},
}

const (
	maxFileLines    = 500
	maxFuncLines    = 80
	maxPackageLines = 7000
)

var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "base", "manager", "service", "impl", "misc", "shared", "lib"}

// source is one parsed Go file of the module.
type source struct {
	pkg, name string // "gateway/anthropic", "sniff.go"
	test      bool
	lines     int
	file      *ast.File
}

func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	files := token.NewFileSet()
	var found []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"node_modules", "testdata", "bench", "bin"}, d.Name())) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(files, p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		found = append(found, source{path.Dir(filepath.ToSlash(p)), d.Name(), strings.HasSuffix(p, "_test.go"), strings.Count(string(text), "\n"), file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, found
}

func TestPackagesImportOnlyWhatTheArchitectureAllows(t *testing.T) {
	t.Parallel()
	_, all := sources(t)
	seen := map[string]bool{}
	for _, s := range all {
		allowed, listed := mayImport[s.pkg]
		if !listed {
			t.Errorf("%s/%s: package %s is not in the architecture; add it to mayImport with what it may import", s.pkg, s.name, s.pkg)
			continue
		}
		seen[s.pkg] = true
		if s.test {
			continue
		}
		for _, spec := range s.file.Imports {
			checkImport(t, s, allowed, spec)
		}
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("mayImport lists %s, which is gone", pkg)
		}
	}
}

func checkImport(t *testing.T, s source, allowed []string, spec *ast.ImportSpec) {
	t.Helper()
	imported, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		t.Fatal(err)
	}
	if own, ok := strings.CutPrefix(imported, module); ok {
		if own = strings.TrimPrefix(own, "/"); own == "" {
			own = "."
		}
		if !slices.Contains(allowed, own) {
			t.Errorf("%s/%s imports %s, which %s may not", s.pkg, s.name, own, s.pkg)
		}
		return
	}
	if s.pkg == "." && strings.Contains(strings.Split(imported, "/")[0], ".") {
		t.Errorf("%s imports %s; the vocabulary imports the standard library only", s.name, imported)
	}
	for outside, packages := range only {
		if (imported == outside || strings.HasPrefix(imported, outside+"/")) && imported != "math/rand/v2" && imported != "database/sql/driver" && !slices.Contains(packages, s.pkg) {
			t.Errorf("%s/%s imports %s; only %v may", s.pkg, s.name, imported, packages)
		}
	}
}

func TestFilesFunctionsAndPackagesKeepTheirSize(t *testing.T) {
	t.Parallel()
	files, all := sources(t)
	size := map[string]int{}
	for _, s := range all {
		if s.lines > maxFileLines {
			t.Errorf("%s/%s has %d lines, at most %d: is it one room?", s.pkg, s.name, s.lines, maxFileLines)
		}
		if s.test {
			continue
		}
		size[s.pkg] += s.lines
		for _, decl := range s.file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := files.Position(fn.End()).Line - files.Position(fn.Pos()).Line + 1; n > maxFuncLines {
				t.Errorf("%s/%s: %s has %d lines, at most %d", s.pkg, s.name, fn.Name.Name, n, maxFuncLines)
			}
		}
	}
	for pkg, n := range size {
		if n > maxPackageLines {
			t.Errorf("package %s has %d lines, at most %d: split it by who reads it", pkg, n, maxPackageLines)
		}
	}
}

func TestEveryPackageSaysOnceWhatItIsFor(t *testing.T) {
	t.Parallel()
	_, all := sources(t)
	comments := map[string]int{}
	for _, s := range all {
		if s.test {
			continue
		}
		if _, ok := comments[s.pkg]; !ok {
			comments[s.pkg] = 0
		}
		if s.file.Doc != nil {
			comments[s.pkg]++
		}
		for _, banned := range bannedNames {
			if path.Base(s.pkg) == banned || strings.TrimSuffix(s.name, ".go") == banned {
				t.Errorf("%s/%s: %q names nothing; call it what it holds", s.pkg, s.name, banned)
			}
		}
	}
	for pkg, n := range comments {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want 1", pkg, n)
		}
	}
}

// A test waits for what it waits for, with a deadline; it never sleeps and never
// steps aside.
func TestTestsNeitherSleepNorSkip(t *testing.T) {
	t.Parallel()
	files, all := sources(t)
	for _, s := range all {
		if !s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch name := x.Name + "." + sel.Sel.Name; name {
			case "time.Sleep", "t.Skip", "t.Skipf", "t.SkipNow", "b.Skip", "b.Skipf", "b.SkipNow", "testing.Short":
				t.Errorf("%s: %s in a test", files.Position(n.Pos()), name)
			}
			return true
		})
	}
}

func TestExportedNamesAreExplained(t *testing.T) {
	t.Parallel()
	files, all := sources(t)
	for _, s := range all {
		if s.test || s.pkg == "cmd/corp" {
			continue
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedReceiver(d)) {
					t.Errorf("%s: %s has no doc comment", files.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
						t.Errorf("%s: %s has no doc comment", files.Position(ts.Pos()), ts.Name.Name)
					}
				}
			}
		}
	}
}

func exportedReceiver(fn *ast.FuncDecl) bool {
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}
