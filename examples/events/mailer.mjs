// Mails users what happened to their second factor: npm install pg, then node mailer.mjs.
// The same as mailer.py, which says what tables and rights it needs.

import { spawnSync } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import pg from 'pg'

const TEXTS = {
  enrolled: 'Two-factor authentication was turned on.',
  device_added: 'An authenticator app was added.',
  device_removed: 'An authenticator app was removed.',
  disabled: 'Two-factor authentication was turned off.',
  backup_replaced: 'You have new backup codes; the old ones no longer work.',
  backup_low: 'You have few backup codes left.',
  locked: 'Your account is locked for a while: there were too many wrong codes.',
  recovery_asked: 'Someone asked for a link that turns two-factor authentication off.',
  recovery_started: 'Two-factor authentication will be turned off, since a link was used.',
  recovery_canceled: 'Two-factor authentication stays on: the link no longer works.',
  recovered: 'Two-factor authentication was turned off with a recovery link.',
  reset: 'Support removed your authenticator apps. Please set up a new one.'
}
const WITH_LINK = ['recovery_asked', 'recovery_started']
const DAYS = 30

// Sends mail for some events. After a failure, it is sent again, rather than not at all.
async function deliver (client) {
  await client.query('BEGIN')
  const { rows: [{ position: after }] } = await client.query('SELECT position FROM mailer FOR UPDATE')
  const { rows: events } = await client.query(
    `SELECT position, event, account, email FROM totp.events_read($1, 100)
     LEFT JOIN users ON login = account ORDER BY position`, [after])
  for (const { position, event, account, email } of events) {
    if (email && TEXTS[event]) {
      send(email, TEXTS[event], WITH_LINK.includes(event) ? notMe(account) : 'call support')
    }
    await client.query('UPDATE mailer SET position = $1', [position])
  }
  await client.query('COMMIT')
  return events.length > 0
}

// A link that cancels a recovery: whoever has the mail need not log in.
function notMe (account) {
  const expires = String(Math.floor(Date.now() / 1000) + DAYS * 86_400)
  const mac = createHmac('sha256', process.env.LINK_SECRET).update(`${expires} ${account}`)
  const query = new URLSearchParams({ account, expires, signature: mac.digest('hex') })
  return `open ${process.env.NOT_ME_URL}?${query}`
}

function send (email, text, advice) {
  const input = `To: ${email}\nSubject: Your account\n\n${text}\nIf it was not you, ${advice}.\n`
  const done = spawnSync(process.env.SENDMAIL ?? '/usr/sbin/sendmail', ['-t', '-oi'], { input })
  if (done.status !== 0) throw new Error('sendmail failed')
}

const client = new pg.Client()
await client.connect()
await client.query('LISTEN totp')
for (;;) {
  const told = once(client, 'notification')
  while (await deliver(client));
  await Promise.race([told, new Promise(resolve => setTimeout(resolve, 60_000))])
}
