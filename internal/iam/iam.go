// Package iam writes the AWS policies that a process needs, as JSON and for
// Terraform. They are the ones of docs/operations.md, with the names of one
// installation.
package iam

import (
	"encoding/json"
	"slices"
	"strings"
)

// Need says what a process reads, and how.
type Need struct {
	Stream      string // ARN; with "*" in it where something is not known
	Key         string // ARN of the KMS key, if the stream is encrypted with the account's own
	Role        string // ARN of the role to assume; "": the credentials found read themselves
	Principal   string // ARN of who assumes the role; "": no trust policy is written
	ExternalID  string // that the trust policy asks for
	FanOut      bool   // by enhanced fan-out
	Consumer    string // its consumer's name; "": gerritstream
	ConsumerARN string // of one that is registered already; "": it is registered if need be
}

// Policy is one document, and who gets it.
type Policy struct {
	Name string // of letters and underscores: "gerritstream_assume"
	For  string // for people: "the role arn:..."

	Statements []Statement
}

// Statement is one statement of a policy.
type Statement struct {
	Sid       string    `json:",omitempty"`
	Effect    string    // always Allow
	Principal any       `json:",omitempty"` // of a trust policy: {"AWS": ARN}
	Action    words     // one or more
	Resource  words     `json:",omitempty"`
	Condition condition `json:",omitempty"`
}

// condition holds values by operator and key.
type condition map[string]map[string]string

// words are written as one text where there is only one.
type words []string

// MarshalJSON implements json.Marshaler.
func (w words) MarshalJSON() ([]byte, error) {
	if len(w) == 1 {
		return json.Marshal(w[0])
	}
	return json.Marshal([]string(w))
}

const allow = "Allow"

// Policies returns what has to be granted: first what reads the stream.
func (n *Need) Policies() []Policy {
	reader := Policy{Name: "gerritstream", For: "the credentials", Statements: []Statement{n.read()}}
	if n.Key != "" {
		reader.Statements = append(reader.Statements, n.decrypt())
	}
	if n.FanOut {
		reader.Statements = append(reader.Statements, n.fanOut()...)
	}
	if n.Role == "" {
		return []Policy{reader}
	}
	reader.For = "the role " + n.Role
	assume := Policy{
		Name: "gerritstream_assume", For: "the credentials that assume the role",
		Statements: []Statement{{Effect: allow, Action: words{"sts:AssumeRole"}, Resource: words{n.Role}}},
	}
	if n.Principal == "" {
		return []Policy{reader, assume}
	}
	trust := Statement{
		Effect: allow, Principal: map[string]string{"AWS": n.Principal}, Action: words{"sts:AssumeRole"},
	}
	if n.ExternalID != "" {
		trust.Condition = condition{"StringEquals": {"sts:ExternalId": n.ExternalID}}
	}
	return []Policy{reader, assume, {
		Name: "gerritstream_trust", For: "the trust of the role", Statements: []Statement{trust},
	}}
}

// read is all that polling needs.
func (n *Need) read() Statement {
	return Statement{
		Sid: "ReadTheStream", Effect: allow, Resource: words{n.Stream}, Action: words{
			"kinesis:DescribeStreamSummary", "kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords",
		},
	}
}

// decrypt is needed besides for a stream that is encrypted with a key that AWS
// does not manage.
func (n *Need) decrypt() Statement {
	operator := "StringEquals"
	if strings.Contains(n.Stream, "*") {
		operator = "StringLike"
	}
	return Statement{
		Sid: "DecryptItsRecords", Effect: allow, Action: words{"kms:Decrypt"}, Resource: words{n.Key},
		Condition: condition{operator: {"kms:EncryptionContext:aws:kinesis:arn": n.Stream}},
	}
}

// fanOut is needed besides for enhanced fan-out.
func (n *Need) fanOut() []Statement {
	if n.ConsumerARN != "" {
		return []Statement{{
			Sid: "SubscribeAsThatConsumer", Effect: allow,
			Action: words{"kinesis:SubscribeToShard"}, Resource: words{n.ConsumerARN},
		}}
	}
	name := n.Consumer
	if name == "" {
		name = "gerritstream"
	}
	return []Statement{
		{
			Sid: "RegisterAConsumer", Effect: allow, Resource: words{n.Stream},
			Action: words{"kinesis:RegisterStreamConsumer", "kinesis:DescribeStreamConsumer"},
		},
		{
			Sid: "SubscribeAsThatConsumer", Effect: allow,
			Action:   words{"kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"},
			Resource: words{n.Stream + "/consumer/" + name + ":*"},
		},
	}
}

// JSON returns the document as AWS takes it, with a line feed at its end.
func (p *Policy) JSON() ([]byte, error) {
	raw, err := json.MarshalIndent(struct {
		Version   string
		Statement []Statement
	}{"2012-10-17", p.Statements}, "", "  ")
	return append(raw, '\n'), err
}

// StreamARN returns the ARN of a stream that is given by its name or its ARN.
// What is not known is "*" in it; account may be empty, as the region may.
func StreamARN(stream, region, account string) string {
	if strings.HasPrefix(stream, "arn:") {
		return stream
	}
	or := func(s string) string {
		if s == "" {
			return "*"
		}
		return s
	}
	return strings.Join([]string{"arn", partition(region), "kinesis", or(region), or(account), "stream/" + stream}, ":")
}

// partition returns the part of AWS that a region belongs to.
func partition(region string) string {
	for prefix, name := range map[string]string{"cn-": "aws-cn", "us-gov-": "aws-us-gov"} {
		if strings.HasPrefix(region, prefix) {
			return name
		}
	}
	return "aws"
}

// Terraform returns data sources with the documents, and a managed policy of
// each but the trust policy, which aws_iam_role takes as its
// assume_role_policy.
func Terraform(policies []Policy) string {
	var b strings.Builder
	for i := range policies {
		p := &policies[i]
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("# For " + p.For + ".\n")
		b.WriteString("data \"aws_iam_policy_document\" " + quote(p.Name) + " {\n")
		for j := range p.Statements {
			if j > 0 {
				b.WriteByte('\n')
			}
			p.Statements[j].terraform(&b)
		}
		b.WriteString("}\n")
		if !slices.ContainsFunc(p.Statements, func(s Statement) bool { return s.Principal != nil }) {
			b.WriteString("\nresource \"aws_iam_policy\" " + quote(p.Name) + " {\n")
			b.WriteString("  name   = " + quote(strings.ReplaceAll(p.Name, "_", "-")) + "\n")
			b.WriteString("  policy = data.aws_iam_policy_document." + p.Name + ".json\n}\n")
		}
	}
	return b.String()
}

// terraform writes a statement as a block.
func (s *Statement) terraform(b *strings.Builder) {
	b.WriteString("  statement {\n")
	if s.Sid != "" {
		b.WriteString("    sid    = " + quote(s.Sid) + "\n")
	}
	b.WriteString("    effect = " + quote(s.Effect) + "\n")
	b.WriteString("\n    actions = " + s.Action.terraform() + "\n")
	if len(s.Resource) > 0 {
		b.WriteString("\n    resources = " + s.Resource.terraform() + "\n")
	}
	if of, ok := s.Principal.(map[string]string); ok {
		for kind, arn := range of {
			b.WriteString("\n    principals {\n      type        = " + quote(kind) + "\n")
			b.WriteString("      identifiers = [" + quote(arn) + "]\n    }\n")
		}
	}
	for operator, keys := range s.Condition {
		for key, v := range keys {
			b.WriteString("\n    condition {\n      test     = " + quote(operator) + "\n")
			b.WriteString("      variable = " + quote(key) + "\n      values   = [" + quote(v) + "]\n    }\n")
		}
	}
	b.WriteString("  }\n")
}

func (w words) terraform() string {
	quoted := make([]string, len(w))
	for i, word := range w {
		quoted[i] = quote(word)
	}
	if len(w) == 1 {
		return "[" + quoted[0] + "]"
	}
	return "[\n      " + strings.Join(quoted, ",\n      ") + ",\n    ]"
}

// quote writes a text as Terraform reads it: "${" and "%{" begin a template.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "${", "$${", "%{", "%%{").Replace(s) + `"`
}
