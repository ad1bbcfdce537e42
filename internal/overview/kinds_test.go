package overview

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/gerritstream/gerritstream/internal/trouble"
)

// kindsIn returns the kinds that a file declares.
func kindsIn(t *testing.T, file string) (all []trouble.Kind) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || spec.Type == nil {
			return true
		}
		if value, ok := spec.Values[0].(*ast.BasicLit); ok && value.Kind == token.STRING {
			text, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, trouble.Kind(text))
		}
		return true
	})
	return all
}

// Each kind that a process can tell has its own words and advice here.
func TestEachKindHasAdvice(t *testing.T) {
	told := kindsIn(t, filepath.Join("..", "trouble", "kind.go"))
	if len(told) < 10 {
		t.Fatalf("only %q were found", told)
	}
	for _, k := range append(told, kindsIn(t, "kinds.go")...) {
		switch said := kindOf(k); {
		case said.help == "other-trouble" && k != configDiffers:
			t.Errorf("%s is other trouble", k)
		case known(k, "words that nothing recognises") != k:
			t.Errorf("%s is not taken as it is told", k)
		}
	}
	if k := known("of-a-newer-process", "queue is full"); k != trouble.QueueFull {
		t.Errorf("a kind that is not known here hides the text: %q", k)
	}
}
