# The five calls with pg. README.md says how to run this.

require "pg"

DB = PG.connect
account = ARGV[0]

# The row of an answer; nil is a no. Values are text: "f" would be true.
def row(query, *parameters) = DB.exec_params(query, parameters).values.first
def row?(...) = !row(...).nil?

secret, _uri = row("SELECT secret, uri FROM totp.totp_create($1)", account)
phone = lambda do |wait|
  row("SELECT totp.totp_code($1, clock_timestamp() + $2::int * interval '1 s')", secret, wait).first
end

confirm = "SELECT array_to_string(backup_codes, ' ') FROM totp.totp_confirm($1, $2) WHERE confirmed"
puts "wrong code confirms: #{row?(confirm, account, "00000000")}"
codes = row(confirm, account, phone[0]).first.split
puts "backup codes: #{codes.size}"

puts "needs a code: #{row?("SELECT 1 WHERE totp.totp_enabled($1)", account)}"
attempt = "SELECT 1 FROM totp.totp_attempt($1, $2) WHERE verified"
puts "wrong code: #{row?(attempt, account, "00000000")}"
puts "right code: #{row?(attempt, account, phone[30])}"
backup = "SELECT 1 WHERE totp.backup_verify($1, $2)"
puts "backup code: #{row?(backup, account, codes[0])}"
puts "same again: #{row?(backup, account, codes[0])}"

wait = "SELECT retry_after_seconds FROM totp.totp_attempt($1, $2) WHERE retry_after_seconds > 0"
locked = 5.times.map { row(wait, account, "00000000") }.last
puts "locked for seconds: #{locked.first}"
