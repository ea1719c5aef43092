package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"rowhook/capture/capturetest"
)

// browser is a real Chromium.
type browser struct {
	tb       testing.TB
	base     string
	ctx      context.Context
	axe      string
	mu       sync.Mutex
	problems []string // what the browser complained of: scripts, policies, requests elsewhere
}

// newBrowser starts Chromium in a profile of its own. What a page asks of any other address than
// base is an error.
func newBrowser(tb testing.TB, base, language string) *browser {
	tb.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		tb.Fatal("there is no Chromium: `make tools` installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("lang", language), chromedp.Flag("font-render-hinting", "none"))
	ctx, cancel := chromedp.NewExecAllocator(within(tb, 5*time.Minute), options...)
	tb.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	tb.Cleanup(cancel)
	b := &browser{tb: tb, base: base, ctx: ctx}
	capturetest.Must(tb, chromedp.Listen(ctx, b.heard))
	b.do(call(network.Enable, network.EnableParams{}), call(log.Enable, cdp.Empty{}), call(runtime.Enable, cdp.Empty{}),
		call(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": json.RawMessage(strconv.Quote(language))}}),
		// What hostile texts would set.
		call(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `window.pwned = 0`}))
	return b
}

// call is a command of the browser's own protocol.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// heard collects what the browser complains of.
func (b *browser) heard(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, "exception: "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" && !strings.Contains(e.Entry.Text, "the server responded with a status of") {
			b.problems = append(b.problems, "error: "+e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.base+"/console/") && !strings.HasPrefix(e.Request.URL, "about:") {
			b.problems = append(b.problems, "asks for "+e.Request.URL)
		}
	}
}

// do runs actions; a page that does not do what it should ends the test.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		at, _ := chromedp.Run(b.ctx, chromedp.Location())
		text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body.innerText`))
		b.tb.Fatalf("%v at %s:\n%.3000s", err, at, text)
	}
}

// ask evaluates an expression on the page.
func ask[T any](b *browser, expression string) T {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.tb.Fatalf("%v: %.200s", err, expression)
	}
	return value
}

// open opens a page.
func (b *browser) open(path string) {
	b.tb.Helper()
	b.do(chromedp.Navigate(b.base + "/console" + path))
}

// login begins a session.
func (b *browser) login(token string) {
	b.tb.Helper()
	b.open("/login")
	b.do(chromedp.SendKeys(chromedp.CSS(`input[name=token]`), token))
	b.submits(chromedp.KeyEvent("\r"))
}

// submits does something that leads to another page, and waits for it.
func (b *browser) submits(actions ...chromedp.Action[chromedp.Void]) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, actions...); err != nil {
		b.tb.Fatalf("no page comes of it: %v\n%.2000s", err, b.text())
	}
}

// press presses the button or the link that has a text, and waits for the page that comes of it.
func (b *browser) press(text string) {
	b.tb.Helper()
	b.submits(chromedp.Click(chromedp.Search(fmt.Sprintf(`//main//button[normalize-space()=%q] | //main//a[normalize-space()=%q]`, text, text))))
}

// text is what the page says.
func (b *browser) text() string {
	b.tb.Helper()
	return ask[string](b, `document.body ? document.body.innerText : ""`)
}

// says waits until the page says a text.
func (b *browser) says(text string) {
	b.tb.Helper()
	said := ""
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(50 * time.Millisecond); !strings.Contains(said, text); <-tick.C {
		if said = b.text(); time.Now().After(deadline) {
			b.tb.Fatalf("the page does not say %q, but\n%.2000s", text, said)
		}
	}
}

// size makes the window so wide.
func (b *browser) size(width int64) {
	b.tb.Helper()
	b.do(chromedp.EmulateViewport(width, 900))
}

// fits fails where the page has to be scrolled sideways.
func (b *browser) fits(what string) {
	b.tb.Helper()
	wide := ask[[]string](b, `(() => {
		const most = document.documentElement.clientWidth;
		if (document.documentElement.scrollWidth <= most) return [];
		return [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > most + 1)
			.map((e) => e.tagName + "." + e.className + " " + Math.round(e.getBoundingClientRect().right) + " " + e.textContent.slice(0, 60)).slice(0, 8);
	})()`)
	if len(wide) > 0 {
		b.tb.Errorf("%s has to be scrolled sideways: %s", what, strings.Join(wide, "\n"))
	}
}

// axePath is where `make tools` puts axe-core.
func axePath() string { return filepath.Join(toolsDir(), "axe-core", "current", "axe.min.js") }

// toolsDir is where .ci/install puts what it unpacks.
func toolsDir() string {
	dir := os.Getenv("ROWHOOK_TOOLS")
	if dir == "" && os.Geteuid() == 0 {
		dir = "/var/cache/rowhook"
	} else if dir == "" {
		cache, _ := os.UserCacheDir()
		dir = filepath.Join(cache, "rowhook")
	}
	return dir
}

// accessible fails for what axe-core finds on the page.
func (b *browser) accessible(what string) {
	b.tb.Helper()
	if b.axe == "" {
		raw, err := os.ReadFile(axePath())
		if err != nil {
			b.tb.Fatalf("there is no axe-core: `make tools` fetches it: %v", err)
		}
		b.axe = string(raw)
	}
	// The page's policy keeps scripts of others out; the browser's own door does not ask it.
	ask[int](b, b.axe+`; 0`)
	found := ask[[]string](b, `axe.run({resultTypes: ["violations"]}).then((r) => r.violations.map((v) =>
		v.id + " (" + v.impact + "): " + v.help + ": " + v.nodes.map((n) => n.target.join(" ") + " " + n.html.slice(0, 160) + " " + n.failureSummary).slice(0, 3).join("; ")))`)
	for _, violation := range found {
		b.tb.Errorf("%s: %s", what, violation)
	}
}

// scheme has the page be dark, or light.
func (b *browser) scheme(dark bool) {
	b.tb.Helper()
	value := map[bool]string{true: "dark", false: "light"}[dark]
	b.do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}}}))
}

// maxPicture is how large a picture in the docs may be.
const maxPicture = 150 << 10

// picture writes what the window shows.
func (b *browser) picture(path string) {
	b.tb.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	capturetest.Must(b.tb, err)
	if len(png) > maxPicture {
		b.tb.Errorf("%s has %d bytes", path, len(png))
	}
	capturetest.Must(b.tb, os.MkdirAll(filepath.Dir(path), 0o755))
	capturetest.Must(b.tb, os.WriteFile(path, png, 0o644))
}

// calm fails for what the browser complained of since it was last asked.
func (b *browser) calm(what string) {
	b.tb.Helper()
	if pwned := ask[int](b, `window.pwned`); pwned != 0 {
		b.tb.Errorf("%s ran a text of somebody else's", what)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.tb.Errorf("%s: %s", what, p)
	}
	b.problems = nil
}
