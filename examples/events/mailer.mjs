// Mails users what happened to their second factor: npm install pg, then node mailer.mjs.
// The same as mailer.py, which says what tables and rights it needs.

import { spawnSync } from 'node:child_process'
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
  recovered: 'Two-factor authentication was turned off with a recovery link.',
  reset: 'Support removed your authenticator apps. Please set up a new one.'
}

// Sends mail for some events. After a failure, it is sent again, rather than not at all.
async function deliver (client) {
  await client.query('BEGIN')
  const { rows: [{ position: after }] } = await client.query('SELECT position FROM mailer FOR UPDATE')
  const { rows: events } = await client.query(
    `SELECT position, event, email FROM totp.events_read($1, 100)
     LEFT JOIN users ON login = account ORDER BY position`, [after])
  for (const { position, event, email } of events) {
    if (email && TEXTS[event]) send(email, TEXTS[event])
    await client.query('UPDATE mailer SET position = $1', [position])
  }
  await client.query('COMMIT')
  return events.length > 0
}

function send (email, text) {
  const input = `To: ${email}\nSubject: Your account\n\n${text}\nIf it was not you, call support.\n`
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
