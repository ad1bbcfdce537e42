"""Reads a shard by enhanced fan-out with boto3 to its end, and reports what came.

Standard output: one JSON object a line: {"consumer": its ARN}, then for each event {"sizes": of its records, "children": of a
shard that has ended}, and {"error": its code} for each subscription that broke. The next one begins where the last event ended.
"""

import argparse
import json
import time

import boto3
from botocore.exceptions import ClientError, EventStreamError


def report(**what):
    print(json.dumps(what), flush=True)


def events(client, consumer, shard, after):
    """The events of one subscription."""
    start = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": after} if after else {"Type": "TRIM_HORIZON"}
    stream = client.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition=start)["EventStream"]
    try:
        for event in stream:
            yield event["SubscribeToShardEvent"]
    finally:
        stream.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--stream", required=True)
    parser.add_argument("--shard", required=True)
    parser.add_argument("--ca")
    args = parser.parse_args()

    client = boto3.client("kinesis", endpoint_url=args.endpoint, verify=args.ca)
    arn = client.describe_stream_summary(StreamName=args.stream)["StreamDescriptionSummary"]["StreamARN"]
    client.register_stream_consumer(StreamARN=arn, ConsumerName="peer")
    listed = client.list_stream_consumers(StreamARN=arn)["Consumers"]
    consumer = next(c["ConsumerARN"] for c in listed if c["ConsumerName"] == "peer")
    client.describe_stream_consumer(ConsumerARN=consumer)
    report(consumer=consumer)
    after = ""
    while True:
        try:
            for event in events(client, consumer, args.shard, after):
                after = event.get("ContinuationSequenceNumber", "")
                children = [child["ShardId"] for child in event.get("ChildShards", [])]
                report(sizes=[len(r["Data"]) for r in event["Records"]], children=children)
                if children:
                    client.deregister_stream_consumer(ConsumerARN=consumer)
                    return
        except (ClientError, EventStreamError) as error:
            report(error=error.response["Error"]["Code"])
        except Exception as error:  # boto3 has a type of its own for a frame that is corrupt
            report(error=type(error).__name__)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
