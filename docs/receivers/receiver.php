<?php
// Receives rowhook's webhooks. PHP 8 or later, no packages.
//
//   RECEIVER_SECRET=whsec_... php -S 127.0.0.1:8080 receiver.php
//
// It verifies each request, appends it to the file INBOX (inbox.txt) before it answers, and takes each id once. Work is done
// from there by another process. PHP keeps nothing between requests: the ids are looked up in the file, which a table with a
// unique key does better.
declare(strict_types=1);

const TOLERANCE = 300; // seconds
const LARGEST = 16 << 20;

function key_of(string $secret): string
{
    return str_starts_with($secret, 'whsec_') ? (string) base64_decode(substr($secret, 6), true) : $secret;
}

// genuine checks the signature of Standard Webhooks; one of several is enough while secrets rotate.
function genuine(string $secret, string $id, string $at, string $signatures, string $body): bool
{
    if ($id === '' || !preg_match('/^\d{1,12}$/D', $at) || abs(time() - (int) $at) > TOLERANCE) {
        return false;
    }
    $want = hash_hmac('sha256', "$id.$at.$body", $secret, true);
    $found = false;
    foreach (explode(' ', $signatures) as $signature) {
        $given = str_starts_with($signature, 'v1,') ? base64_decode(substr($signature, 3), true) : false;
        $found = $given !== false && hash_equals($want, $given) || $found;
    }
    return $found;
}

// take says whether the id is new. It returns when the line is on the disk: an id, a blank, a body. A line that was cut by a
// crash was never answered.
function take(string $path, string $id, string $body): bool
{
    $file = fopen($path, 'c+');
    if ($file === false || !flock($file, LOCK_EX)) {
        throw new RuntimeException("$path cannot be opened");
    }
    $end = 0;
    while (($line = fgets($file)) !== false && str_ends_with($line, "\n")) {
        if (explode(' ', $line, 2)[0] === $id) {
            return false;
        }
        $end = ftell($file);
    }
    ftruncate($file, $end);
    fseek($file, $end);
    $line = $id . ' ' . strtr($body, "\r\n", '  ') . "\n";
    if (fwrite($file, $line) !== strlen($line) || !fflush($file) || function_exists('fsync') && !fsync($file)) {
        throw new RuntimeException("$path cannot be written");
    }
    return true;
}

$secret = key_of((string) getenv('RECEIVER_SECRET'));
$body = (string) file_get_contents('php://input', false, null, 0, LARGEST + 1);
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
if ($secret === '') {
    http_response_code(500);
} elseif ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    http_response_code(405);
} elseif (strlen($body) > LARGEST) {
    http_response_code(413);
} elseif (!genuine($secret, $id, $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '', $body)) {
    http_response_code(401);
} else {
    try {
        take(getenv('INBOX') ?: 'inbox.txt', $id, $body);
        http_response_code(204);
    } catch (RuntimeException $e) {
        error_log($e->getMessage());
        http_response_code(503); // rowhook tries again
    }
}
