import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.Executors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Receives rowhook's webhooks. Java 17 or later, no libraries.
 *
 * <pre>RECEIVER_SECRET=whsec_... java Receiver.java</pre>
 *
 * It verifies each request, appends it to the file INBOX (inbox.txt) before it answers, and takes each id once. Work is done
 * from there, after the answer: process stands for it. PORT is 8080.
 */
public class Receiver {
    static final long TOLERANCE = 300; // seconds
    static final int LARGEST = 16 << 20;

    final byte[] secret;
    final RandomAccessFile inbox;
    final Set<String> ids = new HashSet<>();

    /** The inbox is a file of lines: an id, a blank, a body. A line that was cut by a crash was never answered. */
    Receiver(String secret, String path) throws IOException {
        this.secret = secret.startsWith("whsec_")
            ? Base64.getDecoder().decode(secret.substring(6)) : secret.getBytes(StandardCharsets.UTF_8);
        inbox = new RandomAccessFile(path, "rw");
        long end = 0;
        for (String line; (line = inbox.readLine()) != null; ) {
            inbox.seek(inbox.getFilePointer() - 1);
            if (inbox.read() != '\n') {
                break;
            }
            ids.add(line.split(" ", 2)[0]);
            end = inbox.getFilePointer();
        }
        inbox.setLength(end);
        inbox.seek(end);
    }

    /** Whether the signature is one of Standard Webhooks; one of several is enough while secrets rotate. */
    boolean genuine(Headers headers, byte[] body) throws GeneralSecurityException {
        String id = headers.getFirst("webhook-id"), at = headers.getFirst("webhook-timestamp");
        String signatures = headers.getFirst("webhook-signature");
        if (id == null || id.isEmpty() || at == null || !at.matches("[0-9]{1,12}") || signatures == null
            || Math.abs(System.currentTimeMillis() / 1000 - Long.parseLong(at)) > TOLERANCE) {
            return false;
        }
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(secret, "HmacSHA256"));
        mac.update((id + "." + at + ".").getBytes(StandardCharsets.UTF_8));
        byte[] want = mac.doFinal(body);
        boolean found = false;
        for (String signature : signatures.split(" ")) {
            try {
                found |= signature.startsWith("v1,") && MessageDigest.isEqual(Base64.getDecoder().decode(signature.substring(3)), want);
            } catch (IllegalArgumentException notBase64) {
                // not ours
            }
        }
        return found;
    }

    /** Whether the id is new. It returns when the line is on the disk. */
    synchronized boolean take(String id, byte[] body) throws IOException {
        if (ids.contains(id)) {
            return false;
        }
        String line = id + " " + new String(body, StandardCharsets.UTF_8).replace('\r', ' ').replace('\n', ' ') + "\n";
        inbox.write(line.getBytes(StandardCharsets.UTF_8));
        inbox.getFD().sync();
        return ids.add(id);
    }

    void process(String id, byte[] body) {
        System.out.println(id + " " + body.length + " bytes");
    }

    void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            byte[] body = exchange.getRequestBody().readNBytes(LARGEST + 1);
            if (!exchange.getRequestMethod().equals("POST")) {
                exchange.sendResponseHeaders(405, -1);
            } else if (body.length > LARGEST) {
                exchange.sendResponseHeaders(413, -1);
            } else if (!genuine(exchange.getRequestHeaders(), body)) {
                exchange.sendResponseHeaders(401, -1);
            } else {
                String id = exchange.getRequestHeaders().getFirst("webhook-id");
                boolean fresh = take(id, body);
                exchange.sendResponseHeaders(204, -1);
                if (fresh) {
                    process(id, body);
                }
            }
        } catch (GeneralSecurityException e) {
            throw new IOException(e);
        }
    }

    static String env(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    public static void main(String[] args) throws IOException {
        String secret = env("RECEIVER_SECRET", "");
        if (secret.isEmpty()) {
            throw new IllegalStateException("RECEIVER_SECRET is not set");
        }
        Receiver receiver = new Receiver(secret, env("INBOX", "inbox.txt"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(env("PORT", "8080"))), 0);
        server.createContext("/", receiver::handle);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }
}
