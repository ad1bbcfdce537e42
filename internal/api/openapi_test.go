package api

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// document is docs/openapi.yaml.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromFile(filepath.Join("..", "..", "docs", "openapi.yaml"))
	if err == nil {
		err = doc.Validate(loader.Context)
	}
	return doc, err
})

func documented(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatalf("docs/openapi.yaml: %v", err)
	}
	return doc
}

// Every operation of the server is documented, and there is no other one.
func TestOperationsAreDocumented(t *testing.T) {
	var served, described []string
	for _, r := range routes {
		served = append(served, r.method+" "+r.path)
	}
	for path, item := range documented(t).Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served: %q\ndocs/openapi.yaml: %q", served, described)
	}
}

// So are the parameters of their queries, and the codes of problems.
func TestParametersAndCodesAreDocumented(t *testing.T) {
	doc := documented(t)
	for path, names := range map[string][]string{"/v1/tail": tailParams, "/v1/consumers/{name}/events": readParams} {
		var described []string
		for _, p := range doc.Paths.Value(path).Get.Parameters {
			if p.Value.In == "query" {
				described = append(described, p.Value.Name)
			}
		}
		if !slices.Equal(names, described) {
			t.Errorf("%s takes %q\ndocs/openapi.yaml: %q", path, names, described)
		}
	}
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	var codes, described []string
	for _, match := range regexp.MustCompile(`\tCode\w+ += "([^"]+)"`).FindAllSubmatch(source, -1) {
		codes = append(codes, string(match[1]))
	}
	for _, code := range doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		described = append(described, code.(string)) //nolint:errcheck,forcetypeassert // of an enumeration of texts
	}
	if len(codes) == 0 || !slices.Equal(codes, described) {
		t.Errorf("codes: %q\ndocs/openapi.yaml: %q", codes, described)
	}
}

// conforms checks an answer of an operation against what is documented. All
// tests with a world do so.
func conforms(t *testing.T, pattern string, a *answer) {
	t.Helper()
	method, path, _ := strings.Cut(pattern, " ")
	op := documented(t).Paths.Value("/v1/tail").Get // for problems of what is not there
	if item := documented(t).Paths.Value(path); item != nil && item.GetOperation(method) != nil {
		op = item.GetOperation(method)
	}
	response := op.Responses.Status(a.status)
	if response == nil {
		if a.status < 400 {
			t.Errorf("%s answers with %d, which is not documented", pattern, a.status)
		}
		response = op.Responses.Default()
	}
	contentType := a.header.Get("Content-Type")
	if len(response.Value.Content) == 0 && a.body == "" && contentType == "" {
		return
	}
	content := response.Value.Content[contentType]
	if content == nil {
		t.Errorf("%s answers with %d and %s, not with %q", pattern, a.status, contentType,
			slices.Sorted(maps.Keys(response.Value.Content)))
		return
	}
	for name, header := range response.Value.Headers {
		if header.Value.Required && a.header.Get(name) == "" {
			t.Errorf("%s answers without %s", pattern, name)
		}
	}
	for i, text := range texts(contentType, a.body) {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%s answers with %q: %v", pattern, text, err)
		}
		if i > 20 { // of many lines that are alike
			break
		}
		if err := content.Schema.Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s answers with %s\nwhich docs/openapi.yaml does not describe: %v", pattern, text, err)
		}
	}
}

// texts returns the JSON values of a body.
func texts(contentType, body string) []string {
	if contentType == contentNDJSON {
		return slices.Collect(strings.Lines(body))
	}
	return []string{body}
}

// What is not documented is found.
func TestAnswersAreChecked(t *testing.T) {
	schema := documented(t).Components.Schemas["Event"].Value
	event := map[string]any{
		"n": 1.0, "id": strings.Repeat("0", 32), "type": "", "shard": "s", "sequence": "1",
		"arrived": "2026-01-31T08:00:00Z", "queued": "2026-01-31T08:00:00Z",
	}
	if err := schema.VisitJSON(event, openapi3.EnableJSONSchema2020()); err != nil {
		t.Error(err)
	}
	for name, v := range map[string]any{"n": "1", "more": true, "id": strconv.Itoa(5)} {
		changed := maps.Clone(event)
		changed[name] = v
		if schema.VisitJSON(changed, openapi3.EnableJSONSchema2020()) == nil {
			t.Errorf("%s: %v is taken", name, v)
		}
	}
}
