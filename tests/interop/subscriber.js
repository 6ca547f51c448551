/* A subscriber in JavaScript: what is the same in each; what one of them does is in carrier.js.
 *
 * What it writes and how far it has read are one transaction of Kafka's. Whatever fails, it begins again at what was
 * committed. kafkajs does not tell Kafka which generation of the group a transaction belongs to; so each partition has
 * a transactional id, and who takes a partition over locks out who had it. Only then the newcomer reads how far that
 * one was, and which answers there are: an answer's id is made of its cause's, so an event that is in the topic twice
 * is answered once. */
'use strict'
module.paths.push(`${__dirname}/../../var/node/interop/node_modules`) // where compose/local/node.sh installs them
const { createHash, randomUUID } = require('node:crypto')
const { setTimeout: sleep } = require('node:timers/promises')
const avro = require('avsc')
const { Kafka, Partitioners, logLevel } = require('kafkajs')

const env = process.env
const SCOPE = env.RETURNS_NAMESPACE ? `${env.RETURNS_NAMESPACE}.` : ''
const REGISTRY = env.RETURNS_REGISTRY || 'http://127.0.0.1:8081/apis/ccompat/v7'
const UNKNOWN_ID_MS = +(env.RETURNS_UNKNOWN_ID_MS || 10000)
const kafka = new Kafka({ brokers: (env.RETURNS_KAFKA || '127.0.0.1:9092').split(','), logLevel: logLevel.NOTHING })

class Poison extends Error {} // the record is at fault; whatever else goes wrong, it is tried again

async function registry(path, method, sent) {
  const headers = { 'Content-Type': 'application/vnd.schemaregistry.v1+json' }
  const body = sent && JSON.stringify(sent)
  const answer = await fetch(REGISTRY + path, { method, headers, body, signal: AbortSignal.timeout(5000) })
  if (answer.ok) return answer.json()
  throw new (answer.status === 404 ? Poison : Error)(`the registry answers ${answer.status} to ${path}`)
}

/* A registry that was just started may not know yet what it knew; so an id is asked for again, for a while. */
async function fetched(id, heartbeat) {
  for (const end = Date.now() + UNKNOWN_ID_MS; ; await sleep(200)) {
    try {
      return await registry(`/schemas/ids/${id}`, 'GET')
    } catch (e) {
      if (!(e instanceof Poison) || Date.now() > end) throw e
    }
    await heartbeat()
  }
}

const schemas = new Map()
async function schemaOf(id, heartbeat) {
  if (!schemas.has(id)) {
    const { schema } = await fetched(id, heartbeat)
    try {
      schemas.set(id, avro.Type.forSchema(JSON.parse(schema)))
    } catch (e) {
      throw new Poison(`its schema cannot be read: ${e.message}`)
    }
  }
  return schemas.get(id)
}

function idOf(cause, type) {
  const hex = createHash('sha256').update(`${type}/${cause}`).digest('hex')
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-8$3-8$4-$5')
}

/* answers: {type of an event: what to say of it, a function from its fields to those of our own event}. */
class Subscriber {
  constructor(name, schema, answers) {
    Object.assign(this, { name, schema, answers, group: SCOPE + name, source: `${SCOPE}support.events` })
    Object.assign(this, { events: `${this.group}.events`, letters: `${this.group}.dead-letters` })
    this.own = avro.Type.forSchema(schema)
  }

  async prepare() {
    const configEntries = [{ name: 'retention.ms', value: '-1' }]
    const topics = [this.events, this.letters].map(topic => ({ topic, numPartitions: 6, configEntries }))
    const subject = `${this.events}-${this.own.name}`
    await this.admin.createTopics({ topics })
    await registry(`/config/${subject}`, 'PUT', { compatibility: 'FULL_TRANSITIVE' })
    const { id } = await registry(`/subjects/${subject}/versions`, 'POST', { schema: JSON.stringify(this.schema) })
    this.frame = Buffer.alloc(5)
    this.frame.writeUInt32BE(id, 1)
  }

  /* What is to be sent; null: nothing. */
  async react(m, partition, given, heartbeat) {
    const framed = m.value && m.value.length >= 5 && m.value[0] === 0
    if (!framed) throw new Poison('it does not begin with 0 and the id of a schema')
    const writer = await schemaOf(m.value.readUInt32BE(1), heartbeat), now = Date.now()
    let own, body
    try {
      const event = writer.fromBuffer(m.value.subarray(5)), cause = event.event_id
      if (!this.answers[writer.name]) return null
      own = { event_id: idOf(cause, this.own.name), return_id: event.return_id, version: event.version }
      body = this.own.toBuffer({ ...own, caused_by: cause, occurred_at: now, ...this.answers[writer.name](event) })
    } catch (e) {
      throw new Poison(`it is not what its schema says, or lacks what is needed: ${e.message}`)
    }
    if (given.has(own.event_id)) return null
    given.add(own.event_id)
    const headers = { ce_specversion: '1.0', ce_id: own.event_id, ce_type: this.own.name,
      ce_source: env.RETURNS_PUBLIC_URL || `/${this.name}`, ce_time: new Date(now).toISOString(),
      'content-type': 'application/avro', ...(m.headers.traceparent && { traceparent: m.headers.traceparent }) }
    const value = Buffer.concat([this.frame, body])
    return { topic: this.events, messages: [{ partition, key: own.return_id, value, headers }] }
  }

  async answer(m, partition, given, heartbeat) {
    try {
      return await this.react(m, partition, given, heartbeat)
    } catch (e) {
      if (!(e instanceof Poison)) throw e
      const why = { reason: e.message, service: this.name, topic: this.source, partition, offset: m.offset }
      const told = Object.entries(why).map(([name, value]) => [`dead-letter.${name}`, `${value}`])
      const headers = { ...m.headers, ...Object.fromEntries(told) }
      return { topic: this.letters, messages: [{ key: m.key, value: m.value, headers }] }
    }
  }

  /* Which answers these partitions hold; by a group for the moment, as kafkajs reads in no other way. */
  async lookBack(partitions) {
    const given = new Set(), all = await this.admin.fetchTopicOffsets(this.events)
    const ours = all.filter(o => partitions.includes(o.partition) && o.high > 0)
    const ends = new Map(ours.map(o => [o.partition, +o.high]))
    if (!ends.size) return given
    const reader = kafka.consumer({ groupId: `${this.group}.${randomUUID()}`, maxWaitTimeInMs: 50 })
    await reader.connect()
    await reader.subscribe({ topic: this.events, fromBeginning: true })
    await new Promise((resolve, reject) => {
      reader.on('consumer.crash', ({ payload }) => reject(payload.error))
      reader.on('consumer.end_batch_process', ({ payload: { partition, lastOffset } }) => {
        if (+lastOffset + 1 >= ends.get(partition)) ends.delete(partition)
        if (!ends.size) resolve()
      })
      reader.run({ autoCommit: false, eachMessage: async ({ message }) => given.add(`${message.headers.ce_id}`) })
    }).finally(() => reader.disconnect())
    return given
  }

  /* Locks out whoever had these partitions before, and looks at what they left. */
  async takeOver(partitions) {
    await Promise.allSettled(this.open.splice(2).map(producer => producer.disconnect()))
    const producers = await Promise.all(partitions.map(async partition => {
      const producer = kafka.producer({ transactionalId: `${this.group}-${partition}`, transactionTimeout: 10000,
        idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner })
      this.open.push(producer)
      await producer.connect()
      await (await producer.transaction()).abort() // the first one ends what a predecessor had begun
      return [partition, producer]
    }))
    const [{ partitions: offsets }] = await this.admin.fetchOffsets({ groupId: this.group, topics: [this.source] })
    const next = new Map(offsets.map(o => [o.partition, Number(o.offset)]))
    return { producers: new Map(producers), next, given: await this.lookBack(partitions) }
  }

  async handle({ partition, messages }, { producers, next, given }, heartbeat) {
    const fresh = messages.filter(m => +m.offset >= next.get(partition)), records = []
    if (!fresh.length) return
    for (const m of fresh) records.push(await this.answer(m, partition, given, heartbeat))
    const offset = `${+fresh.at(-1).offset + 1}`, metadata = env.RETURNS_PUBLIC_URL || ''
    const topics = [{ topic: this.source, partitions: [{ partition, offset, metadata }] }]
    const transaction = await producers.get(partition).transaction()
    for (const record of records) if (record) await transaction.send(record)
    await transaction.sendOffsets({ consumerGroupId: this.group, topics })
    await transaction.commit()
    next.set(partition, +offset)
  }

  /* Until something fails. */
  async consume(consumer) {
    let state
    const failed = new Promise((_, reject) => {
      consumer.on('consumer.crash', ({ payload }) => reject(payload.error))
      consumer.on('consumer.group_join', ({ payload: { memberAssignment } }) => {
        state = this.takeOver(memberAssignment[this.source] || [])
        state.catch(reject)
      })
    })
    const eachBatch = async ({ batch, heartbeat }) => {
      let ready
      for (; !ready; await heartbeat()) ready = await Promise.race([state, sleep(500)])
      await this.handle(batch, ready, heartbeat)
      await heartbeat()
    }
    await consumer.connect()
    await consumer.subscribe({ topic: this.source, fromBeginning: true })
    await Promise.all([failed, consumer.run({ autoCommit: false, eachBatch })])
  }

  /* Never returns. */
  async run() {
    for (;;) {
      this.admin = kafka.admin()
      const consumer = kafka.consumer({ groupId: this.group, sessionTimeout: 6000, heartbeatInterval: 1000,
        maxWaitTimeInMs: 100, retry: { retries: 0, restartOnFailure: async () => false } })
      this.open = [consumer, this.admin]
      try {
        await this.admin.connect()
        await this.prepare()
        await this.consume(consumer)
      } catch (e) {
        console.error(`${this.name}: begins again at what was committed: ${e.message}`)
      }
      await Promise.allSettled(this.open.map(client => client.disconnect()))
      await sleep(1000)
    }
  }
}

process.on('SIGTERM', () => process.exit(0))
module.exports = { Subscriber }
