package queue

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// MaxName is the longest name of a consumer, in bytes.
const MaxName = 64

// webhookPrefix begins the names of the consumers of package webhook. Nobody
// else's name has a colon.
const webhookPrefix = "webhook:"

// MaxWebhookName is the longest name of a webhook, in bytes.
const MaxWebhookName = MaxName - len(webhookPrefix)

// WebhookConsumer returns the name of a webhook's consumer, which CheckName
// refuses: people and programs cannot make one, or read as it.
func WebhookConsumer(hook string) string { return webhookPrefix + hook }

// WebhookOf returns the webhook whose consumer it is, if it is one's.
func WebhookOf(consumer string) (hook string, ok bool) {
	return strings.CutPrefix(consumer, webhookPrefix)
}

// RefuseWebhook reports that a consumer is a webhook's, which only its webhook
// reads and acknowledges as.
func RefuseWebhook(consumer string) error {
	if hook, ok := WebhookOf(consumer); ok {
		return fmt.Errorf("consumer %q belongs to the webhook %s, which reads as it", consumer, hook)
	}
	return nil
}

// CheckWebhookName reports what is wrong with the name of a webhook: the rules
// are those of a consumer's name, but for its length.
func CheckWebhookName(hook string) error {
	switch {
	case hook == "":
		return errors.New("the name of a webhook is empty")
	case len(hook) > MaxWebhookName:
		return fmt.Errorf("the webhook's name is longer than %d bytes", MaxWebhookName)
	case !names.MatchString(hook):
		return fmt.Errorf("webhook %q: %s", hook, rule)
	}
	return nil
}

// CheckStoredName reports what is wrong with the name of a consumer, of a
// webhook's as well. Stores use it; whoever takes a name from a person or a
// program uses CheckName.
func CheckStoredName(name string) error {
	if hook, ok := WebhookOf(name); ok {
		return CheckWebhookName(hook)
	}
	return CheckName(name)
}

const rule = "a name has lower-case letters, digits, \".\", \"_\" and \"-\", and begins with a letter or digit"

var names = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// CheckName reports what is wrong with the name of a consumer.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of a consumer is empty")
	case len(name) > MaxName:
		return fmt.Errorf("the consumer's name is longer than %d bytes", MaxName)
	case !names.MatchString(name):
		return fmt.Errorf("consumer %q: %s", name, rule)
	}
	return nil
}
