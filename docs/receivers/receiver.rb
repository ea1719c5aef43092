# Receives rowhook's webhooks. Ruby 3 or later, with webrick (`gem install webrick`).
#
#   RECEIVER_SECRET=whsec_... ruby receiver.rb
#
# It verifies each request, appends it to the file INBOX (inbox.txt) before it answers, and takes each id once. Work is done
# from there, after the answer: another process may read it. PORT is 8080.
require "openssl"
require "webrick"

TOLERANCE = 300 # seconds

def key(secret)
  secret.start_with?("whsec_") ? secret.delete_prefix("whsec_").unpack1("m") : secret
end

# The signature of Standard Webhooks; one of several is enough while secrets rotate.
def genuine?(secret, request)
  id, at = request["webhook-id"].to_s, request["webhook-timestamp"].to_s
  return false if id.empty? || !at.match?(/\A\d{1,12}\z/) || (Time.now.to_i - at.to_i).abs > TOLERANCE

  want = OpenSSL::HMAC.digest("SHA256", secret, "#{id}.#{at}.".b + request.body.to_s.b)
  found = false
  request["webhook-signature"].to_s.split.each do |signature|
    version, text = signature.split(",", 2)
    given = text.to_s.unpack1("m")
    found |= version == "v1" && given.bytesize == want.bytesize && OpenSSL.fixed_length_secure_compare(given, want)
  end
  found
end

# A file of lines: an id, a blank, a body. A line that was cut by a crash was never answered.
class Inbox
  def initialize(path)
    @lock = Mutex.new
    @file = File.open(path, File::RDWR | File::CREAT | File::APPEND, 0o600)
    @file.binmode
    whole = @file.read
    whole = whole[0, (whole.rindex("\n") || -1) + 1]
    @file.truncate(whole.bytesize)
    @ids = whole.each_line.to_h { |line| [line.split(" ", 2).first, true] }
  end

  # Whether the id is new. It returns when the line is on the disk.
  def take(id, body)
    @lock.synchronize do
      return false if @ids[id]

      @file.write("#{id} ".b + body.b.tr("\r\n", "  ") + "\n")
      @file.fsync
      @ids[id] = true
    end
  end
end

class Receiver < WEBrick::HTTPServlet::AbstractServlet
  def initialize(server, secret, inbox)
    super(server)
    @secret, @inbox = secret, inbox
  end

  def do_POST(request, response)
    if genuine?(@secret, request)
      @inbox.take(request["webhook-id"], request.body.to_s)
      response.status = 204
    else
      response.status = 401
    end
  end
end

secret = key(ENV.fetch("RECEIVER_SECRET"))
inbox = Inbox.new(ENV.fetch("INBOX", "inbox.txt"))
server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: ENV.fetch("PORT", "8080").to_i,
                                 Logger: WEBrick::Log.new($stderr, WEBrick::Log::WARN), AccessLog: [])
server.mount("/", Receiver, secret, inbox)
trap("TERM") { server.shutdown }
server.start
