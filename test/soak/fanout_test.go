package soak

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// isPushed reports whether the processes read by enhanced fan-out.
func isPushed() bool { return *flagRead == "fan-out" || *flagRead == "auto" }

// fanOutFaults are those of enhanced fan-out. Subscriptions break in
// mid-stream, and the consumer is deregistered, which ends all of them.
func fanOutFaults(n *nemesis) []fault {
	broken := func(name string, with kinesistest.Action) fault {
		return fault{name: name, do: func(ctx context.Context) bool {
			return n.refuse(ctx, "SubscribeToShard", 4, with)
		}}
	}
	gone := kinesistest.Fault{Code: "InternalFailureException", Message: "It failed."}
	return []fault{
		broken("cut subscriptions", kinesistest.CutStream(2)),
		broken("silent subscriptions", kinesistest.SilenceStream(2)),
		broken("corrupt events", kinesistest.CorruptStream(2)),
		broken("exceptions in mid-stream", kinesistest.FailStream(2, gone)),
		broken("lost replies to subscriptions", kinesistest.CutReply),
		{name: "consumer deregistered", do: func(ctx context.Context) bool {
			n.deregister(ctx)
			return pause(ctx, n.between(time.Second, 2*time.Second))
		}},
	}
}

// deregister removes the consumer of the processes, so that they subscribe
// again, and poll meanwhile.
func (n *nemesis) deregister(ctx context.Context) {
	client := kinesis.New(kinesis.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://kinesis.test"), RetryMaxAttempts: 1, AppID: besideAgent,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		HTTPClient:  &http.Client{Transport: n.s.stream.server.Transport()},
	})
	n.s.stream.mu.Lock()
	arn := n.s.stream.id.ARN
	n.s.stream.mu.Unlock()
	// There may be none yet, or too many requests.
	_, _ = client.DeregisterStreamConsumer(ctx, &kinesis.DeregisterStreamConsumerInput{
		StreamARN: &arn, ConsumerName: aws.String("gerritstream"),
	})
}
