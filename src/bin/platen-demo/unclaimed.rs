//! `cargo demo -- --unclaimed`: two boxes that belong to nobody yet. One has its console in this terminal, the other its light
//! and button.

use std::io::IsTerminal as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use platen::agent::control::{Answer, Request};
use platen::agent::status::Status;
use platen::agent::{self, AgentError, Config, Front, panel};
use platen::board::{Board, SimulatedButton, SimulatedFinger, SimulatedLed};
use platen::cloud::RunningCloud;
use platen::console::{AgentLink, BoxHost, Console, IDLE_MAX, Lock, Moment, SocketLink, serve_terminal};
use platen::enroll::{LabelSecret, SECRET_BYTES};
use platen::sim::RunningSim;
use platen::sys::{SystemFs, random_bytes};
use tokio_util::sync::CancellationToken;

use super::{Cli, FIRST_PRINTER, say};

/// Between two looks at a box.
const LOOK: Duration = Duration::from_millis(200);

/// A simulated box.
struct DemoBox {
    serial: String,
    secret: LabelSecret,
    config: Config,
    finger: SimulatedFinger,
    screen: Option<platen::board::Screen>,
    link: SocketLink,
    stop: CancellationToken,
}

impl DemoBox {
    fn start(
        folder: &Path,
        serial: &str,
        ports: (u16, u16),
        range: &str,
        stop: &CancellationToken,
    ) -> Result<Self, String> {
        let secret = LabelSecret::from_bytes(random_bytes::<SECRET_BYTES>());
        let home = folder.join(serial);
        let config = config(folder, &home, serial, &secret, ports, range)?;
        let (led, screen) = SimulatedLed::new();
        let (button, finger, pressing) = SimulatedButton::new();
        tokio::spawn(pressing);
        let board = Board { led: Box::new(led), button: Some(Box::new(button)), troubles: Vec::new() };
        let front = Front::default();
        let light = panel::run(board, &front, false, stop);
        let link = SocketLink::new(&config.runtime_dir);
        tokio::spawn({
            let (config, stop) = (config.clone(), stop.clone());
            async move {
                // Each start again is the end of an enrolment or a reset.
                loop {
                    let agent = match agent::start_with(&config, &front, stop.child_token()) {
                        Ok(agent) => agent,
                        Err(error) => return say(&format!("the box does not start: {error}")),
                    };
                    panel::follow(light.clone(), agent.status());
                    match agent.finished().await {
                        Err(AgentError::Restart(_)) if !stop.is_cancelled() => {}
                        Ok(()) => return,
                        Err(error) => return say(&format!("the box ended: {error}")),
                    }
                }
            }
        });
        Ok(Self { serial: serial.to_owned(), secret, config, finger, screen: Some(screen), link, stop: stop.clone() })
    }

    async fn status(&self) -> Option<Status> {
        match self.link.ask(Request::Status).await {
            Ok(Answer::Status { status }) => Some(*status),
            _ => None,
        }
    }

    /// Waits until its status is so.
    async fn until(&self, limit: Duration, is_so: impl Fn(&Status) -> bool) -> Result<Status, String> {
        let began = Instant::now();
        loop {
            let now = self.status().await;
            if let Some(status) = now.as_ref().filter(|status| is_so(status)) {
                return Ok(status.clone());
            }
            if began.elapsed() > limit {
                let why = now.and_then(|status| status.enrolment.last_error).unwrap_or_default();
                return Err(format!("{} is not there after {} s: {why}", self.serial, limit.as_secs()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn until_claimed(&self, limit: Duration) -> Result<Status, String> {
        self.until(limit, |status| status.enrolment.phase == "active" && status.cloud.last_contact_unix_ms.is_some())
            .await
    }
}

fn config(
    folder: &Path,
    home: &Path,
    serial: &str,
    secret: &LabelSecret,
    (cloud, snmp): (u16, u16),
    range: &str,
) -> Result<Config, String> {
    let write = |path: PathBuf, text: &str| std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()));
    std::fs::create_dir_all(home).map_err(|e| format!("{}: {e}", home.display()))?;
    write(home.join("label.toml"), &format!("serial = \"{serial}\"\nsecret = \"{}\"\n", *secret.text()))?;
    let text = format!(
        r#"
data_dir = "{home}/data"
runtime_dir = "{home}/run"
[cloud]
root_domain = "localhost"
grpc = "https://localhost:{cloud}"
mqtt = "wss://localhost:{cloud}/mqtt"
roots = "{folder}/roots.pem"
[device]
label = "{home}/label.toml"
[lan]
ranges = ["{range}"]
fence = ["{range}"]
[snmp]
port = {snmp}
timeout_ms = 500
packets_per_second = 2000
[schedule]
read_interval_s = 10
"#,
        home = home.display(),
        folder = folder.display(),
    );
    let path = home.join("platen.toml");
    write(path.clone(), &text)?;
    Config::load(&path).map_err(|e| e.to_string())
}

/// Starts both and leads a newcomer through; with `--once`, claims them by itself.
pub(super) async fn run(
    cli: &Cli,
    folder: &Path,
    sim: &RunningSim,
    cloud: &RunningCloud,
    page: &str,
) -> Result<(), String> {
    let roots = folder.join("roots.pem");
    std::fs::write(&roots, cloud.pinned_pem()).map_err(|e| format!("{}: {e}", roots.display()))?;
    let stop = CancellationToken::new();
    let _stops_at_the_end = stop.clone().drop_guard();
    let ports = (cloud.device_addr().port(), sim.port());
    let last = sim.printers().last().map_or(FIRST_PRINTER, |printer| printer.address);
    let half = Ipv4Addr::from_bits(u32::midpoint(FIRST_PRINTER.to_bits(), last.to_bits()));
    let after = Ipv4Addr::from_bits(half.to_bits() + 1);
    let console = DemoBox::start(folder, "DEMO-CONSOLE", ports, &format!("{FIRST_PRINTER}-{half}"), &stop)?;
    let mut button = DemoBox::start(folder, "DEMO-BUTTON", ports, &format!("{after}-{last}"), &stop)?;
    say("3  two boxes have made their keys, and belong to nobody");
    let began = Instant::now();
    if cli.once {
        by_itself(&console, &button, cloud, Duration::from_secs(cli.limit)).await?;
    } else if std::io::stdin().is_terminal() {
        by_hand(&console, &mut button, page).await?;
    } else {
        return Err("--unclaimed wants a terminal, or --once".to_owned());
    }
    say(&format!("6  done: both boxes belong to somebody and have polled, {:.1} s", began.elapsed().as_secs_f64()));
    if !cli.once {
        say(&format!("\n   Look at {page}. End with Ctrl-C."));
        std::future::pending::<()>().await;
    }
    Ok(())
}

async fn by_hand(console: &DemoBox, button: &mut DemoBox, page: &str) -> Result<(), String> {
    say(&format!(
        "
4  The console of the first box, as over its serial cable. Type `claim`; type the code that it shows at {page}add
   and, when the page wants the button pressed, `confirm` here. `help` tells the rest, `exit` goes on to the second box.
   Once claimed, it asks for the code on its label: {}
",
        *console.secret.text()
    ));
    console.until(Duration::from_secs(20), |status| status.enrolment.phase == "unclaimed").await?;
    let lock = Lock::new(Arc::new(SystemFs), &console.config.data_dir, Some(console.secret.clone()), Moment::now);
    let terminal = Console {
        host: BoxHost::new(console.config.clone(), false),
        agent: SocketLink::new(&console.config.runtime_dir),
        lock: Arc::new(lock),
        data_dir: console.config.data_dir.clone(),
        idle_max: IDLE_MAX,
    };
    serve_terminal(&terminal).await.map_err(|e| format!("this terminal: {e}"))?;
    say(&format!(
        "
5  The second box has a light and a button only, and this label:
       PLATEN:{}:{}
   Open a window for it at {page}add (\"by its button\"), then press p here: its button, held for four seconds. Count how often
   it blinks, and say so on the page. Space is a tap, f a factory reset.
",
        button.serial,
        *button.secret.text()
    ));
    let keys = button.finger.listen_to_keys();
    let drawn = CancellationToken::new();
    if let Some(screen) = button.screen.take() {
        tokio::spawn(screen.run(drawn.clone()));
    }
    let for_ever = Duration::from_secs(24 * 3_600);
    let claimed = tokio::select! {
        claimed = button.until_claimed(for_ever) => claimed,
        () = button.stop.cancelled() => return Ok(()),
    };
    drawn.cancel();
    drop(keys);
    say("");
    claimed.map(drop)
}

/// What a technician and somebody at the portal do, done here.
async fn by_itself(console: &DemoBox, button: &DemoBox, cloud: &RunningCloud, limit: Duration) -> Result<(), String> {
    let words = |error: platen::cloud::CloudError| error.to_string();
    console.until(limit, |status| status.enrolment.phase == "unclaimed").await?;
    ask(console, Request::Claim).await?;
    let pairing = |status: &Status| status.enrolment.pairing.clone().unwrap_or_default();
    let shown = console.until(limit, |status| pairing(status).user_code.is_some()).await?;
    let code = pairing(&shown).user_code.unwrap_or_default();
    say(&format!("4  the console of {} shows {code}; typed in the portal, somebody taps the button", console.serial));
    cloud.approve(&code, "Console box", "Demo").await.map_err(words)?;
    console.until(limit, |status| pairing(status).wants_press).await?;
    press(console, Duration::from_millis(200))?;
    console.until_claimed(limit).await?;

    button.until(limit, |status| status.enrolment.phase == "unclaimed").await?;
    let window = cloud.open_window(&button.serial, &button.secret.text(), "Button box", "Demo").await.map_err(words)?;
    press(button, Duration::from_secs(4))?;
    let shown = button.until(limit, |status| pairing(status).number.is_some()).await?;
    let number = u32::from(pairing(&shown).number.unwrap_or(0));
    say(&format!("5  the button of {} was held; its light blinks {number} times, and so it is said", button.serial));
    cloud.pick_number(&window, number).await.map_err(words)?;
    button.until_claimed(limit).await.map(drop)
}

fn press(demo: &DemoBox, hold: Duration) -> Result<(), String> {
    if demo.finger.press(hold) { Ok(()) } else { Err(format!("the button of {} is gone", demo.serial)) }
}

async fn ask(demo: &DemoBox, request: Request) -> Result<(), String> {
    match demo.link.ask(request).await {
        Ok(Answer::Refused { why }) => Err(why),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
