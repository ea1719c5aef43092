package format

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// nodeProgram answers each line with what JavaScript makes of it. It stops at what is not UTF-8.
const nodeProgram = `
const decoder = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true});
let rest = Buffer.alloc(0);
process.stdin.on("data", (chunk) => {
  rest = Buffer.concat([rest, chunk]);
  let out = [];
  for (let end; (end = rest.indexOf(10)) >= 0; rest = rest.subarray(end + 1)) {
    try {
      out.push(JSON.stringify(JSON.parse(decoder.decode(rest.subarray(0, end)))));
    } catch (e) {
      out.push("error: " + e.message.replace(/\n/g, " "));
    }
  }
  if (out.length > 0) process.stdout.write(out.join("\n") + "\n");
});`

// node is a JavaScript engine that is fed by a pipe.
type node struct {
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader
}

// startNode starts Node.js for the length of the test.
func startNode(t testing.TB) *node {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("these tests need Node.js: .ci/install installs it")
	}
	command := exec.Command(path, "-e", nodeProgram)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	return &node{in: in, out: bufio.NewReader(out)}
}

// restringify returns JSON.stringify(JSON.parse(body)).
func (n *node) restringify(t testing.TB, body []byte) []byte {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if bytes.IndexByte(body, '\n') >= 0 {
		t.Fatalf("more than one line: %q", body)
	}
	if _, err := n.in.Write(append(bytes.Clone(body), '\n')); err != nil {
		t.Fatal(err)
	}
	line, err := n.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line[:len(line)-1]
}

// fixedPoint fails when JavaScript would write the body differently.
func (n *node) fixedPoint(t testing.TB, body []byte) {
	t.Helper()
	if again := n.restringify(t, body); !bytes.Equal(again, body) {
		t.Errorf("JavaScript makes\n%s\nof\n%s", again, body)
	}
	assertCanonical(t, body)
}

// assertCanonical holds a body to the rules that JavaScript alone does not: what is escaped, and
// the names that objects may have.
func assertCanonical(t testing.TB, body []byte) {
	t.Helper()
	if strings.Contains(string(body), `"__proto__":`) || strings.ContainsAny(string(body), "\n\r\t\ufeff") {
		t.Errorf("not canonical: %s", body)
	}
}
