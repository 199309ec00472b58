# Asks the model of the page, whose path is the argument. Reads one call per line, [method, user, code...] as JSON.

require "active_record"
require "devise"
require "devise/orm/active_record"
require "json"

class ApplicationRecord < ActiveRecord::Base
  self.abstract_class = true
  extend Devise::Models
end

ApplicationRecord.establish_connection(
  adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], username: ENV["PGUSER"], database: ENV["PGDATABASE"]
)
load ARGV[0]
$stdin.each_line do |line|
  method, id, *values = JSON.parse(line)
  puts User.find(id).public_send(method, *values).to_json
  $stdout.flush
end
