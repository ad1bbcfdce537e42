// Reads a shard by enhanced fan-out with the AWS SDK for JavaScript to its end, and reports what came as
// python/subscribe.py does. Arguments: endpoint, stream, shard.
import * as sdk from '@aws-sdk/client-kinesis'
import { setTimeout as sleep } from 'node:timers/promises'

const [endpoint, stream, shard] = process.argv.slice(2)
const client = new sdk.KinesisClient({ endpoint, maxAttempts: 1 })
const report = (what) => console.log(JSON.stringify(what))

const summary = await client.send(new sdk.DescribeStreamSummaryCommand({ StreamName: stream }))
const StreamARN = summary.StreamDescriptionSummary.StreamARN
await client.send(new sdk.RegisterStreamConsumerCommand({ StreamARN, ConsumerName: 'peer' }))
const { Consumers } = await client.send(new sdk.ListStreamConsumersCommand({ StreamARN }))
const { ConsumerARN } = Consumers.find((c) => c.ConsumerName === 'peer')
await client.send(new sdk.DescribeStreamConsumerCommand({ ConsumerARN }))
report({ consumer: ConsumerARN })

// The events of one subscription, and where the last of them ended; true at the end of the shard.
let after
async function subscribe () {
  const StartingPosition = after ? { Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: after } : { Type: 'TRIM_HORIZON' }
  const out = await client.send(new sdk.SubscribeToShardCommand({ ConsumerARN, ShardId: shard, StartingPosition }))
  for await (const { SubscribeToShardEvent: event } of out.EventStream) {
    after = event.ContinuationSequenceNumber
    const children = (event.ChildShards ?? []).map((child) => child.ShardId)
    report({ sizes: event.Records.map((r) => r.Data.length), children })
    if (children.length > 0) return true
  }
  return false
}

for (let ended = false; !ended; await sleep(100)) {
  ended = await subscribe().catch((error) => report({ error: error.name }))
}
await client.send(new sdk.DeregisterStreamConsumerCommand({ ConsumerARN }))
client.destroy()
