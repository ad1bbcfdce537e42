package queue

import (
	"errors"
	"fmt"
	"regexp"
)

// MaxName is the longest name of a consumer, in bytes.
const MaxName = 64

var names = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// CheckName reports what is wrong with the name of a consumer.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of a consumer is empty")
	case len(name) > MaxName:
		return fmt.Errorf("the consumer's name is longer than %d bytes", MaxName)
	case !names.MatchString(name):
		return fmt.Errorf("consumer %q: a name has lower-case letters, digits, \".\", \"_\" and \"-\", "+
			"and begins with a letter or digit", name)
	}
	return nil
}
