package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/iam"
)

func newIAMPolicy(p process) *cobra.Command {
	output := outputFlag("json", "terraform")
	var o policyOptions
	cmd := &cobra.Command{
		Use:   "iam-policy",
		Short: "Print the AWS policy that a configuration needs",
		Long: `Print the AWS policy that a configuration needs, ready to paste: as the JSON that AWS takes, or for
Terraform. Stream, region, role, consumer and the way to read are those of the settings. Nothing is asked of AWS.

With a role there are two policies, that of the role and that of the credentials which assume it, and with --principal
also the role's trust policy. Standard error says which is which.`,
		Example: `  gerritstream iam-policy --stream arn:aws:kinesis:us-west-2:123456789012:stream/gerrit
  gerritstream iam-policy --config /etc/gerritstream/gerrit.yaml -o terraform > policy.tf
  gerritstream iam-policy --stream arn:aws:kinesis:us-west-2:123456789012:stream/gerrit --fan-out \
      --kms arn:aws:kms:us-west-2:123456789012:key/1234abcd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			src := sources(cmd, p)
			src.StoreOnly = true // keys and secrets need not be on this host
			c, err := config.Load(src)
			if err != nil {
				return err
			}
			need, err := o.need(p, &c)
			if err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			return writePolicies(p, need.Policies(), output)
		},
	}
	cmd.Flags().StringVar(&o.key, "kms", "", "`ARN` of the key that the stream is encrypted with, if it is your own")
	cmd.Flags().StringVar(&o.role, "role", "", "`ARN` of the role to assume (default: aws.role_arn)")
	cmd.Flags().StringVar(&o.principal, "principal", "", "`ARN` of the user or role that assumes the role")
	cmd.Flags().BoolVar(&o.fanOut, "fan-out", false, "for enhanced fan-out, whatever kinesis.read says")
	output.register(cmd)
	settingFlags(cmd, config.ForStore+1, "stream", "aws.region", "kinesis.consumer_name", "kinesis.consumer_arn")
	return cmd
}

// policyOptions are the flags of iam-policy that are no settings.
type policyOptions struct {
	key, role, principal string
	fanOut               bool
}

// The ARNs that the flags take.
var (
	keyARN       = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/\S+$`)
	roleARN      = regexp.MustCompile(`^arn:aws[a-z-]*:iam::\d{12}:role/\S+$`)
	principalARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::\d{12}:(root|(user|role)/\S+)$`)
)

// need puts flags and settings together.
func (o *policyOptions) need(p process, c *config.Config) (*iam.Need, error) {
	k := &c.Kinesis
	n := &iam.Need{
		Key: o.key, Role: cmp.Or(o.role, k.Credentials.RoleARN), Principal: o.principal,
		ExternalID: k.Credentials.ExternalID, FanOut: o.fanOut || c.FanOut(),
		Consumer: k.ConsumerName, ConsumerARN: k.ConsumerARN,
	}
	region := cmp.Or(k.Region, p.getenv("AWS_REGION"), p.getenv("AWS_DEFAULT_REGION"))
	n.Stream = iam.StreamARN(k.Stream, region, "")
	var errs []error
	if k.Stream == "" {
		errs = append(errs, errors.New("name the stream: give --stream, or --config"))
	} else if err := c.CheckNames(); err != nil {
		errs = append(errs, err)
	}
	for _, a := range []struct {
		flag, arn, like string
		rule            *regexp.Regexp
	}{
		{"--kms", n.Key, "arn:aws:kms:us-west-2:123456789012:key/...", keyARN},
		{"--role", n.Role, "arn:aws:iam::123456789012:role/NAME", roleARN},
		{"--principal", n.Principal, "arn:aws:iam::123456789012:user/NAME", principalARN},
	} {
		if a.arn != "" && !a.rule.MatchString(a.arn) {
			errs = append(errs, fmt.Errorf("%s: %q is not an ARN such as %s", a.flag, a.arn, a.like))
		}
	}
	if n.Principal != "" && n.Role == "" {
		errs = append(errs, errors.New("--principal: there is no role to be trusted with; also give --role"))
	}
	if len(errs) == 0 && strings.Contains(n.Stream, "*") {
		fmt.Fprintf(p.stderr,
			"gerritstream: %s: what is not known is \"*\"; --stream with the ARN narrows it\n", n.Stream)
	}
	return n, errors.Join(errs...)
}

// writePolicies prints the documents, and for whom each is.
func writePolicies(p process, policies []iam.Policy, output *output) error {
	if output.is("terraform") {
		if _, err := io.WriteString(p.stdout, iam.Terraform(policies)); err != nil {
			return fmt.Errorf("write the policy: %w", err)
		}
		return nil
	}
	for i := range policies {
		if len(policies) > 1 {
			fmt.Fprintf(p.stderr, "gerritstream: for %s:\n", policies[i].For)
		}
		raw, err := policies[i].JSON()
		if err == nil {
			_, err = p.stdout.Write(raw)
		}
		if err != nil {
			return fmt.Errorf("write the policy: %w", err)
		}
	}
	return nil
}
