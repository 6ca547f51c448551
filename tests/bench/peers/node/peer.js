// kafkajs eachBatch, avsc by the writer's schema, the SQLite that is part of Node.
// Tuned: fetch wait 10 ms, at most 1000 rows a transaction, prepared statements, no auto-commit.
const {Kafka, logLevel} = require('kafkajs'), avro = require('avsc'), {DatabaseSync} = require('node:sqlite');
const {createHash} = require('crypto'), fs = require('fs');
const {BROKERS, REGISTRY, TOPIC, GROUP, DB, TABLES} = process.env;

const db = new DatabaseSync(DB);
db.exec(fs.readFileSync(TABLES, 'utf8'));
const insert = db.prepare('INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
const move = db.prepare('INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next');
const last = db.prepare('SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1').get();
let id = last ? last.id : 0, head = last ? last.hash : Buffer.alloc(32);

const schemas = new Map();
async function schemaOf(number) {
  const answer = await (await fetch(`${REGISTRY}/schemas/ids/${number}`)).json(), text = JSON.parse(answer.schema);
  schemas.set(number, {name: `${text.namespace}.${text.name}`, type: avro.Type.forSchema(text)});
}
function money(bytes) {
  const cents = bytes.readIntBE(0, bytes.length), size = Math.abs(cents); // 15 digits fit 6 bytes and a half: ours fit 6
  return (cents < 0 ? '-' : '') + Math.floor(size / 100) + '.' + String(size % 100).padStart(2, '0');
}

function store(topic, partition, messages) {
  let n = id, hash = head;
  db.exec('BEGIN IMMEDIATE');
  for (const {value, offset} of messages) {
    const {name, type} = schemas.get(value.readInt32BE(1)), e = type.fromBuffer(value.subarray(5));
    const text = `${e.order_id} ${e.shipment_id} ${e.model} ${e.serial_number} ${e.location} ${money(e.cost.amount)} ${e.cost.currency} `
      + `${e.reason_code} ${e.channel}`;
    n++;
    hash = createHash('sha256').update(hash)
      .update(`${n}\n${e.return_id}\n${e.event_id}\n${name}\n${topic}\n${partition}\n${offset}\n${e.occurred_at}\n${text}`).digest();
    insert.run(n, e.return_id, e.event_id, name, topic, partition, +offset, e.occurred_at, text, hash);
  }
  move.run(topic, partition, +messages[messages.length - 1].offset + 1);
  db.exec('COMMIT');
  [id, head] = [n, hash];
}

(async () => {
  const consumer = new Kafka({brokers: [BROKERS], logLevel: logLevel.ERROR}).consumer({groupId: GROUP, maxWaitTimeInMs: 10, minBytes: 1});
  await consumer.connect();
  await consumer.subscribe({topic: TOPIC, fromBeginning: true});
  consumer.on(consumer.events.GROUP_JOIN, () => {
    for (const o of db.prepare('SELECT * FROM offsets').all()) consumer.seek({topic: o.topic, partition: o.partition, offset: String(o.next)});
  });
  await consumer.run({
    autoCommit: false, eachBatchAutoResolve: false,
    eachBatch: async ({batch, resolveOffset, heartbeat}) => {
      for (let i = 0; i < batch.messages.length; i += 1000) {
        const messages = batch.messages.slice(i, i + 1000);
        for (const {value} of messages) if (!schemas.has(value.readInt32BE(1))) await schemaOf(value.readInt32BE(1));
        store(batch.topic, batch.partition, messages);
        resolveOffset(messages[messages.length - 1].offset);
        await heartbeat();
      }
    },
  });
})().catch(e => { console.error(e); process.exit(1); });
process.on('SIGTERM', () => process.exit(0));
