package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile is the largest configuration file that is read.
const maxFile = 1 << 20

// readFile reads a configuration file into values by key, and its webhooks.
// Mistakes in its form become faults; nil: it could not be read at all.
func readFile(name string, settings []Setting, faults *Faults) (map[string]given, []Webhook) {
	raw, err := readAtMost(name, maxFile)
	if err != nil {
		faults.add(Place{}, "", "%v", err)
		return nil, nil
	}
	return parseFile(name, raw, settings, faults)
}

// readAtMost reads a file of at most limit bytes.
func readAtMost(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("read configuration: %s is larger than %s", name, formatSize(limit))
	}
	return raw, nil
}

// parseFile reads a file's text into values by key, and its webhooks; nil: it
// is not YAML, or no mapping.
func parseFile(name string, raw []byte, settings []Setting, faults *Faults) (map[string]given, []Webhook) {
	r := fileReader{name: name, settings: settings, values: map[string]given{}, faults: faults}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")) // Windows' editors write it
	if bytes.HasPrefix(raw, []byte("\xff\xfe")) || bytes.HasPrefix(raw, []byte("\xfe\xff")) {
		faults.add(Place{Name: name}, "", "it is UTF-16; save it as UTF-8")
		return nil, nil
	}
	tree, err := parser.ParseBytes(raw, 0)
	if err != nil {
		r.syntax(err)
		return nil, nil
	}
	docs := slices.DeleteFunc(tree.Docs, func(d *ast.DocumentNode) bool { return d.Body == nil })
	for i, doc := range docs {
		if i > 0 {
			r.fault(doc.Body, "", "a second document; only one is read")
			break
		}
		if !r.section("", doc.Body) {
			return nil, nil
		}
	}
	return r.values, r.hooks
}

// fileReader walks a file's syntax tree.
type fileReader struct {
	name     string
	settings []Setting
	values   map[string]given
	hooks    []Webhook
	nested   bool // it reads an entry of the list of webhooks
	faults   *Faults
}

// place returns where a node begins.
func (r *fileReader) place(n ast.Node) Place {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return Place{Name: r.name, Line: t.Position.Line, Column: t.Position.Column}
	}
	return Place{Name: r.name}
}

func (r *fileReader) fault(n ast.Node, key, format string, args ...any) {
	r.faults.add(r.place(n), key, format, args...)
}

// syntax reports text that is not YAML.
func (r *fileReader) syntax(err error) {
	at, problem := Place{Name: r.name}, "not YAML: "+err.Error()
	var fault yaml.Error
	if errors.As(err, &fault) && fault.GetToken() != nil && fault.GetToken().Position != nil {
		pos := fault.GetToken().Position
		at.Line, at.Column, problem = pos.Line, pos.Column, fault.GetMessage()
	}
	line, _, _ := strings.Cut(problem, "\n")
	if strings.Contains(line, "'\t'") {
		line = "a tab cannot indent; use spaces"
	}
	r.faults.add(at, "", "%s", line)
}

// section reads a mapping whose keys stand under a prefix: "" or "aws.". It
// reports whether it is one, or empty.
func (r *fileReader) section(prefix string, n ast.Node) bool {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return true
	default:
		r.misfit(n, strings.TrimSuffix(prefix, "."), "expected keys and values here, as in \"connection: gerrit\"")
		return false
	}
	for _, pair := range pairs {
		name, ok := pair.Key.(*ast.StringNode)
		if !ok {
			r.fault(pair.Key, "", "only plain keys are understood here")
			continue
		}
		r.pair(prefix, name, pair.Value)
	}
	return true
}

// misfit reports a node of another kind than the one that is expected.
func (r *fileReader) misfit(n ast.Node, key, expected string) {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		expected = "anchors, aliases and tags are not understood here"
	}
	r.fault(n, key, "%s", expected)
}

// pair reads one key and its value.
func (r *fileReader) pair(prefix string, name *ast.StringNode, n ast.Node) {
	key := prefix + name.Value
	s := lookup(r.settings, key)
	switch {
	case key == webhooksKey && !r.nested:
		r.webhooks(n)
	case s == nil && slices.ContainsFunc(r.settings, func(s Setting) bool { return strings.HasPrefix(s.Key, key+".") }):
		r.section(key+".", n)
	case s == nil:
		r.fault(name, "", "%s", r.unknownKey(prefix, name.Value))
	case s.IsList():
		r.list(s, n)
	default:
		if v, ok := r.scalar(key, n); ok && v != "" {
			r.values[key] = given{[]string{v}, []Place{r.place(n)}}
		}
	}
}

// list reads the values of a setting that takes several.
func (r *fileReader) list(s *Setting, n ast.Node) {
	if _, ok := n.(*ast.NullNode); ok {
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		r.misfit(n, s.Key, "expected a list, as in [one, two]")
		return
	}
	var v given
	for _, item := range seq.Values {
		if text, ok := r.scalar(s.Key, item); ok {
			v.texts, v.places = append(v.texts, strings.TrimSpace(text)), append(v.places, r.place(item))
		}
	}
	r.values[s.Key] = v
}

// scalar returns the text of a single value as it was written; nothing at all
// is "".
func (r *fileReader) scalar(key string, n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.NullNode:
		return "", true
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	r.misfit(n, key, "expected a single value")
	return "", false
}

// unknownKey returns the problem with an unknown key, with the one
// that was probably meant.
func (r *fileReader) unknownKey(prefix, name string) string {
	if prefix == "" && name == "zuul_conf" {
		return "name a zuul.conf outside of this file, with --zuul-conf or $GERRITSTREAM_ZUUL_CONF"
	}
	var siblings []string
	if prefix == "" && !r.nested {
		siblings = append(siblings, webhooksKey)
	}
	for _, s := range r.settings {
		if rest, ok := strings.CutPrefix(s.Key, prefix); ok {
			first, _, _ := strings.Cut(rest, ".")
			siblings = append(siblings, first)
		}
		if s.Key != prefix+name && strings.HasSuffix(s.Key, "."+name) {
			return fmt.Sprintf("unknown key %q; did you mean %q?", prefix+name, s.Key)
		}
	}
	return fmt.Sprintf("unknown key %q%s", prefix+name, didYouMean(name, siblings))
}
