/* Carrier: fetches the defective device. Says when in a PickupBooked for each RefundRequest. */
'use strict'
const { createHash } = require('node:crypto')
const { readFileSync } = require('node:fs')
const { Subscriber } = require('./subscriber.js')

const schema = JSON.parse(readFileSync(`${__dirname}/PickupBooked.avsc`))
const HOUR = 3600000
const digest = text => createHash('sha256').update(text).digest()

/* Four hours of the second day after the return came in. */
function book(event) {
  const day = new Date(event.occurred_at + 48 * HOUR).setUTCHours(0, 0, 0, 0)
  const from = day + (8 + 4 * (digest(event.return_id)[0] % 3)) * HOUR
  const code = digest(event.shipment_id).toString('hex').slice(0, 12).toUpperCase()
  return { location: event.location, tracking_code: `CR${code}`, pickup_from: from, pickup_until: from + 4 * HOUR }
}

new Subscriber('carrier', schema, { 'returns.support.RefundRequest': book }).run()
