package config

import (
	"errors"
	"os"
	"strings"

	"github.com/gerritstream/gerritstream/kinesis"
)

// checkAWS asks package kinesis, which knows the rules of AWS' names and how
// keys and files go together, and gives its answers our keys and places. It
// looks at the AWS_* variables of this process as well.
func (l *loader) checkAWS(src Sources) {
	if l.config.Kinesis.Stream == "" {
		if !l.unread {
			l.faults.add(Place{}, "stream", "not set; %s", howToSet("stream", src.File != ""))
		}
		return
	}
	l.checkReadable("aws.access_key_file", "aws.secret_key_file", "aws.session_token_file", "aws.credentials_file")
	joined, ok := l.config.Kinesis.Validate().(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, err := range joined.Unwrap() {
		var fault *kinesis.Fault
		if errors.As(err, &fault) {
			key := keyOf(fault.Field)
			l.faults.add(l.place(key), key, "%s", fault.Problem)
		}
	}
}

// KinesisFault returns a fault of Config.Kinesis under the name of the setting.
func KinesisFault(f *kinesis.Fault) Fault {
	return Fault{Key: keyOf(f.Field), Problem: f.Problem}
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

// keyOf returns the key of the setting behind a field of kinesis.Config; "":
// there is none. Settings are named like their fields: aws.endpoint is Endpoint,
// aws.role_arn is Credentials.RoleARN, aws.credentials_file Credentials.File.
func keyOf(field string) string {
	short := field[strings.LastIndexByte(field, '.')+1:]
	joined := strings.ReplaceAll(field, ".", "")
	for i := range settings {
		name := strings.ReplaceAll(strings.TrimPrefix(settings[i].Key, "aws."), "_", "")
		if strings.EqualFold(name, short) || strings.EqualFold(name, joined) {
			return settings[i].Key
		}
	}
	return ""
}

// howToSet names the ways to give a setting.
func howToSet(key string, file bool) string {
	s := lookup(key)
	if file {
		return "give --" + s.Flag + ", $" + s.Env() + " or " + key + ": in the file"
	}
	return "give --" + s.Flag + " or $" + s.Env()
}
