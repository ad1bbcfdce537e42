package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSleepOnlyInBubbles: tests call time.Sleep only in packages whose tests
// run in testing/synctest bubbles, where it is the way to move the clock.
// Outside a bubble a sleep is a guess.
func TestSleepOnlyInBubbles(t *testing.T) {
	sleepers, bubbles := map[string]string{}, map[string]bool{} // by folder
	for _, path := range files(t, ".") {
		if !strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", path), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if sleeps(file) {
			sleepers[filepath.Dir(path)] = path
		}
		if importsSynctest(file) {
			bubbles[filepath.Dir(path)] = true
		}
	}
	for folder, path := range sleepers {
		if !bubbles[folder] {
			t.Errorf("%s sleeps, and no test beside it runs in a bubble", path)
		}
	}
	if len(sleepers) == 0 {
		t.Error("no test sleeps at all: is this still looking at the right files?")
	}
}

func importsSynctest(file *ast.File) bool {
	return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool {
		return i.Path.Value == `"testing/synctest"`
	})
}

// sleeps reports whether a file calls time.Sleep.
func sleeps(file *ast.File) bool {
	found := false
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "time" {
				found = true
			}
		}
		return !found
	})
	return found
}
