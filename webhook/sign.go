package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"
)

// The headers of Standard Webhooks.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// sign returns the signatures of a request as Standard Webhooks has them: for
// each secret "v1," and the base64 of the HMAC-SHA256 of id, time and body,
// joined by dots; several are separated by spaces.
func sign(secrets []Secret, id string, at time.Time, body []byte) string {
	signed := append([]byte(id), '.')
	signed = append(strconv.AppendInt(signed, at.Unix(), 10), '.')
	var all []byte
	for i, s := range secrets {
		if i > 0 {
			all = append(all, ' ')
		}
		mac := hmac.New(sha256.New, []byte(s.key))
		mac.Write(signed)
		mac.Write(body)
		all = base64.StdEncoding.AppendEncode(append(all, "v1,"...), mac.Sum(nil))
	}
	return string(all)
}
