//! Chromium as a person has it: it opens pages, types, presses buttons and takes pictures. It is led by its DevTools protocol
//! over a WebSocket on the loopback interface (https://chromedevtools.github.io/devtools-protocol/).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Peer, command};

/// As `wait_until` waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a page that has to change.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A browser with one page, which ends with the test.
pub struct Browser {
    socket: WebSocketStream<TcpStream>,
    session: Option<String>,
    last_id: u64,
    _process: Peer,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Chromium with a profile of its own.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let process = command("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--hide-scrollbars", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Peer(process);
        let (port, path) = address(profile.path()).await;
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(format!("ws://127.0.0.1:{port}{path}"), tcp).await.unwrap();
        let mut browser = Self { socket, session: None, last_id: 0, _process: process, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await.unwrap();
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await.unwrap();
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        // Otherwise no field of a page that nobody looks at has the focus.
        browser.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await.unwrap();
        browser
    }

    /// Calls a method and waits for its answer, past the events that come between.
    async fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.last_id += 1;
        let mut request = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(request.to_string())).await.unwrap();
        let answer = async {
            loop {
                let message = self.socket.next().await.expect("Chromium ended").unwrap();
                let Message::Text(text) = message else { continue };
                let mut answer: Value = serde_json::from_str(&text).unwrap();
                if answer["id"] == self.last_id {
                    let error = answer["error"].take();
                    return if error.is_null() { Ok(answer["result"].take()) } else { Err(error) };
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("Chromium did not answer {method}"))
    }

    /// The value of an expression in the page; none while the page is being changed for another.
    async fn value(&mut self, expression: &str) -> Option<Value> {
        let params = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", params).await.ok()?;
        answer.get("exceptionDetails").is_none().then(|| answer["result"]["value"].clone())
    }

    /// Opens a page.
    pub async fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url })).await.unwrap();
        assert!(answer.get("errorText").is_none(), "{url} does not open: {answer}");
        self.wait("the page", "document.readyState === 'complete' && location.href !== 'about:blank'").await;
    }

    async fn wait(&mut self, what: &str, condition: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(condition).await != Some(json!(true)) {
            assert!(Instant::now() < deadline, "{what} did not come; the page says:\n{}", self.text().await);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What a person can read on the page.
    pub async fn text(&mut self) -> String {
        let text = self.value("document.body.innerText").await;
        text.and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// What a person can read in one part of it.
    pub async fn text_of(&mut self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector({}).innerText", json!(selector))).await;
        let text = text.unwrap_or_else(|| panic!("the page has no {selector}"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows something.
    pub async fn sees(&mut self, words: &str) {
        self.wait(words, &format!("document.body.innerText.includes({})", json!(words))).await;
    }

    /// Types into a field, in the place of what stands there.
    pub async fn type_into(&mut self, selector: &str, text: &str) {
        self.wait(selector, &format!("(document.querySelector({}).select(), true)", json!(selector))).await;
        self.call("Input.insertText", json!({ "text": text })).await.unwrap();
        assert_eq!(self.typed(selector).await, text, "{selector} did not take what was typed");
    }

    /// What stands in a field.
    pub async fn typed(&mut self, selector: &str) -> String {
        let value = self.value(&format!("document.querySelector({}).value", json!(selector))).await;
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// What is written on the place where the keyboard is.
    pub async fn focused(&mut self) -> String {
        self.text_of(":focus").await
    }

    /// Clicks with the mouse in the middle of something, whatever lies there.
    pub async fn click(&mut self, selector: &str) {
        let middle = format!(
            "(() => {{ let it = document.querySelector({}); it.scrollIntoView({{ block: 'center' }}); let at = it.getBoundingClientRect(); \
             return [at.x + at.width / 2, at.y + at.height / 2]; }})()",
            json!(selector)
        );
        let at = self.value(&middle).await.unwrap_or_else(|| panic!("the page has no {selector}"));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event).await.unwrap();
        }
    }

    /// Takes a picture of the whole page at a width in CSS pixels, and looks whether it fits into that.
    pub async fn picture(&mut self, file: &Path, width: u32, scheme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media).await.unwrap();
        let size = |height| json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size(300)).await.unwrap();
        let page = self.value("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]").await;
        let page = page.unwrap();
        assert!(page[0].as_u64() <= Some(u64::from(width)), "{} is {} px wide", file.display(), page[0]);
        let height = page[1].as_u64().unwrap().min(8_000);
        self.call("Emulation.setDeviceMetricsOverride", size(height)).await.unwrap();
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" })).await.unwrap();
        let png = base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::write(file, png).unwrap();
    }

    /// Pictures of the page on a desk and on a phone, by day and by night, for people to look at.
    pub async fn pictures(&mut self, name: &str) {
        for (width, scheme) in [(400, "light"), (400, "dark"), (1_200, "dark"), (1_200, "light")] {
            let file = file(&format!("{name}-{width}-{scheme}"));
            self.picture(&file, width, scheme).await;
            println!("look at {}", file.display());
        }
    }
}

/// Where a picture goes.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).with_extension("png")
}

/// Where Chromium listens, which it writes down in its profile.
async fn address(profile: &Path) -> (u16, String) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let written = std::fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
        if let Some((port, path)) = written.split_once('\n')
            && path.starts_with("/devtools/browser/")
        {
            return (port.parse().unwrap(), path.trim().to_owned());
        }
        assert!(Instant::now() < deadline, "Chromium did not start");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
