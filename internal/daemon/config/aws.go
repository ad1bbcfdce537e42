package config

import (
	"errors"
	"os"

	"github.com/gerritstream/gerritstream/kinesis"
)

// Kinesis returns what package kinesis wants to know of the configuration.
func (c *Config) Kinesis() kinesis.Config {
	return kinesis.Config{
		Stream:           c.Stream,
		Region:           c.AWS.Region,
		Endpoint:         c.AWS.Endpoint,
		AccountEndpoints: c.AWS.AccountEndpoints,
		Credentials: kinesis.Credentials{
			AccessKeyFile:    c.AWS.AccessKeyFile,
			SecretKeyFile:    c.AWS.SecretKeyFile,
			SessionTokenFile: c.AWS.SessionTokenFile,
			File:             c.AWS.CredentialsFile,
			Keys:             c.AWS.Keys,
			RoleARN:          c.AWS.RoleARN,
			ExternalID:       c.AWS.ExternalID,
		},
		PollInterval: c.PollInterval,
		MarkForeign:  c.DropForeignRecords,
	}
}

// kinesisKeys leads from the fields of kinesis.Config to our keys. It is never
// written to.
var kinesisKeys = map[string]string{ //nolint:gosec // names of settings, no credentials
	"Stream":                       "stream",
	"Region":                       "aws.region",
	"Endpoint":                     "aws.endpoint",
	"AccountEndpoints":             "aws.account_endpoints",
	"Credentials.AccessKeyFile":    "aws.access_key_file",
	"Credentials.SecretKeyFile":    "aws.secret_key_file",
	"Credentials.SessionTokenFile": "aws.session_token_file",
	"Credentials.File":             "aws.credentials_file",
	"Credentials.RoleARN":          "aws.role_arn",
	"Credentials.ExternalID":       "aws.external_id",
}

// checkAWS asks package kinesis, which knows the rules of AWS' names and how
// keys and files go together, and gives its answers our keys and places. It
// looks at the AWS_* variables of this process as well.
func (l *loader) checkAWS(src Sources) {
	if l.config.Stream == "" {
		if !l.unread {
			l.faults.add(Place{}, "stream", "not set; %s", howToSet("stream", src.File != ""))
		}
		return
	}
	l.checkReadable("aws.access_key_file", "aws.secret_key_file", "aws.session_token_file", "aws.credentials_file")
	joined, ok := l.config.kinesisFaults().(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, err := range joined.Unwrap() {
		var fault *kinesis.Fault
		if errors.As(err, &fault) {
			key := kinesisKeys[fault.Field]
			l.faults.add(l.place(key), key, "%s", fault.Problem)
		}
	}
}

// KinesisFault returns a fault of Config.Kinesis under the name of the setting.
func KinesisFault(f *kinesis.Fault) Fault {
	return Fault{Key: kinesisKeys[f.Field], Problem: f.Problem}
}

// checkReadable looks whether the files that settings name can be read.
func (l *loader) checkReadable(keys ...string) {
	for _, key := range keys {
		name := lookup(key).kind.show(l.config)
		if name == "" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			l.faults.add(l.place(key), key, "%v", err)
			continue
		}
		_ = f.Close() // opened only to see that it can be
	}
}

// kinesisFaults is kinesis.Config.Validate.
func (c *Config) kinesisFaults() error {
	k := c.Kinesis()
	return k.Validate()
}

// howToSet names the ways to give a setting.
func howToSet(key string, file bool) string {
	s := lookup(key)
	if file {
		return "give --" + s.Flag + ", $" + s.Env() + " or " + key + ": in the file"
	}
	return "give --" + s.Flag + " or $" + s.Env()
}
