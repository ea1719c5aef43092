// Receives rowhook's webhooks. .NET 6 or later (or Mono), no packages: the one file of a console project.
//
//   RECEIVER_SECRET=whsec_... dotnet run
//
// It verifies each request, appends it to the file INBOX (inbox.txt) before it answers, and takes each id once. Work is done
// from there, after the answer: Process stands for it. PORT is 8080.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Net;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using System.Threading.Tasks;

public sealed class Receiver
{
    const long Tolerance = 300; // seconds
    const int Largest = 16 << 20;

    readonly byte[] secret;
    readonly FileStream inbox;
    readonly HashSet<string> ids = new HashSet<string>();

    // The inbox is a file of lines: an id, a blank, a body. A line that was cut by a crash was never answered.
    Receiver(string secret, string path)
    {
        this.secret = secret.StartsWith("whsec_", StringComparison.Ordinal)
            ? Convert.FromBase64String(secret.Substring(6)) : Encoding.UTF8.GetBytes(secret);
        inbox = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
        var whole = new byte[inbox.Length];
        for (int n = 0, more = 1; n < whole.Length && more > 0; n += more) more = inbox.Read(whole, n, whole.Length - n);
        int end = Array.LastIndexOf(whole, (byte)'\n') + 1;
        foreach (var line in Encoding.UTF8.GetString(whole, 0, end).Split('\n')) ids.Add(line.Split(' ')[0]);
        inbox.SetLength(end);
        inbox.Seek(0, SeekOrigin.End);
    }

    // Same takes as long for every pair of one length. CryptographicOperations.FixedTimeEquals does the same where there is one.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.NoOptimization)]
    static bool Same(byte[] a, byte[] b)
    {
        int differences = a.Length ^ b.Length;
        for (int i = 0; i < a.Length && i < b.Length; i++) differences |= a[i] ^ b[i];
        return differences == 0;
    }

    // Genuine checks the signature of Standard Webhooks; one of several is enough while secrets rotate.
    bool Genuine(WebHeaderCollection headers, byte[] body)
    {
        string id = headers["webhook-id"] ?? "", at = headers["webhook-timestamp"] ?? "";
        long seconds;
        if (id == "" || !long.TryParse(at, NumberStyles.None, CultureInfo.InvariantCulture, out seconds) ||
            Math.Abs(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - seconds) > Tolerance) return false;
        var head = Encoding.UTF8.GetBytes(id + "." + at + ".");
        var signed = new byte[head.Length + body.Length];
        head.CopyTo(signed, 0);
        body.CopyTo(signed, head.Length);
        bool found = false;
        using (var hmac = new HMACSHA256(secret))
        {
            var want = hmac.ComputeHash(signed);
            foreach (var signature in (headers["webhook-signature"] ?? "").Split(' '))
            {
                try
                {
                    found |= signature.StartsWith("v1,", StringComparison.Ordinal) && Same(Convert.FromBase64String(signature.Substring(3)), want);
                }
                catch (FormatException)
                {
                    // not base64: not ours
                }
            }
        }
        return found;
    }

    // Take says whether the id is new. It returns when the line is on the disk.
    bool Take(string id, byte[] body)
    {
        lock (ids)
        {
            if (ids.Contains(id)) return false;
            var line = Encoding.UTF8.GetBytes(id + " " + Encoding.UTF8.GetString(body).Replace('\r', ' ').Replace('\n', ' ') + "\n");
            inbox.Write(line, 0, line.Length);
            inbox.Flush(true);
            return ids.Add(id);
        }
    }

    static void Process(string id, byte[] body)
    {
        Console.WriteLine(id + " " + body.Length + " bytes");
    }

    void Handle(HttpListenerContext context)
    {
        var fresh = false;
        var body = new MemoryStream();
        var id = context.Request.Headers["webhook-id"];
        int status = 204;
        try
        {
            var part = new byte[1 << 16];
            for (int n; body.Length <= Largest && (n = context.Request.InputStream.Read(part, 0, part.Length)) > 0; ) body.Write(part, 0, n);
            if (context.Request.HttpMethod != "POST") status = 405;
            else if (body.Length > Largest) status = 413;
            else if (!Genuine((WebHeaderCollection)context.Request.Headers, body.ToArray())) status = 401;
            else fresh = Take(id, body.ToArray());
        }
        catch (IOException e)
        {
            Console.Error.WriteLine(e.Message);
            status = 503; // rowhook tries again
        }
        context.Response.StatusCode = status;
        context.Response.Close();
        if (fresh) Process(id, body.ToArray());
    }

    static string Env(string name, string otherwise)
    {
        var value = Environment.GetEnvironmentVariable(name);
        return string.IsNullOrEmpty(value) ? otherwise : value;
    }

    public static void Main()
    {
        var secret = Env("RECEIVER_SECRET", "");
        if (secret == "") throw new InvalidOperationException("RECEIVER_SECRET is not set");
        var receiver = new Receiver(secret, Env("INBOX", "inbox.txt"));
        var listener = new HttpListener();
        listener.Prefixes.Add("http://127.0.0.1:" + Env("PORT", "8080") + "/");
        listener.Start();
        while (true)
        {
            var context = listener.GetContext();
            Task.Run(() => receiver.Handle(context));
        }
    }
}
