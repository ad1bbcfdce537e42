package iam

import (
	"strings"
	"testing"
)

func TestStreamARN(t *testing.T) {
	for _, tc := range []struct{ stream, region, account, want string }{
		{"gerrit", "us-west-2", "123456789012", "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit"},
		{"gerrit", "cn-north-1", "", "arn:aws-cn:kinesis:cn-north-1:*:stream/gerrit"},
		{"gerrit", "us-gov-west-1", "", "arn:aws-us-gov:kinesis:us-gov-west-1:*:stream/gerrit"},
		{"gerrit", "", "", "arn:aws:kinesis:*:*:stream/gerrit"},
		{"arn:aws:kinesis:eu-west-1:1:stream/g", "us-west-2", "2", "arn:aws:kinesis:eu-west-1:1:stream/g"},
	} {
		if got := StreamARN(tc.stream, tc.region, tc.account); got != tc.want {
			t.Errorf("%s in %s: %s", tc.stream, tc.region, got)
		}
	}
}

// TestWildcardIsMatched: StringEquals would compare a "*" as it stands, and
// refuse every stream.
func TestWildcardIsMatched(t *testing.T) {
	for stream, operator := range map[string]string{
		"arn:aws:kinesis:us-west-2:*:stream/gerrit":            "StringLike",
		"arn:aws:kinesis:us-west-2:123456789012:stream/gerrit": "StringEquals",
	} {
		n := Need{Stream: stream, Key: "arn:aws:kms:us-west-2:123456789012:key/1"}
		if got := n.Policies()[0].Statements[1].Condition; got[operator] == nil {
			t.Errorf("%s: %v", stream, got)
		}
	}
}

// TestTemplatesAreQuoted: an external id is whatever its owner made it.
func TestTemplatesAreQuoted(t *testing.T) {
	n := Need{
		Stream: "s", Role: "arn:aws:iam::1:role/r", Principal: "arn:aws:iam::2:root",
		ExternalID: "a\"b\\${path.cwd}%{if true}",
	}
	if got := Terraform(n.Policies()); !strings.Contains(got, `values   = ["a\"b\\$${path.cwd}%%{if true}"]`) {
		t.Errorf("got\n%s", got)
	}
}
