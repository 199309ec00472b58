# Enrols a user with devise-two-factor, who spends a code of the app, and prints what they know. Then prints the
# result of the export, whose path is the argument.

require "active_record"
require "devise"
require "devise/orm/active_record"
require "devise-two-factor"
require "json"
require "stringio"

ActiveRecord::Base.establish_connection(
  adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], username: ENV["PGUSER"], database: ENV["PGDATABASE"]
)
ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  create_table :users do |t|
    t.string :email
    t.string :encrypted_password
    t.string :encrypted_otp_secret
    t.string :encrypted_otp_secret_iv
    t.string :encrypted_otp_secret_salt
    t.integer :consumed_timestep
    t.boolean :otp_required_for_login
    t.string :otp_backup_codes, array: true
  end
end

class User < ActiveRecord::Base
  extend Devise::Models
  devise :two_factor_authenticatable, :two_factor_backupable, otp_secret_encryption_key: "a key of at least 32 bytes, for tests"
end

def enrol(email, confirms)
  user = User.new(email: email)
  user.password = "a password"
  user.otp_secret = User.generate_otp_secret
  user.generate_otp_backup_codes!
  user.otp_required_for_login = confirms
  user.save!
  code = user.current_otp
  raise "the code was refused" unless user.validate_and_consume_otp!(code)
  raise "the code was accepted twice" if user.validate_and_consume_otp!(code)

  { account: user.id.to_s, uri: user.otp_provisioning_uri(email, issuer: "Rails"), spent_code: code }
end

people = { "one" => enrol("one@example.org", true), "unconfirmed" => enrol("two@example.org", false) }
$stdout = StringIO.new
load ARGV[0]
exported = $stdout.string
$stdout = STDOUT
puts JSON.generate(people: people, csv: exported)
