//! How the box starts: what the disk holds says what it is, nobody's, at work, disabled, or half forgotten, and which parts it
//! has therefore.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::certificates::Certificates;
use super::config::CloudEndpoints;
use super::outbox::SharedOutbox;
use super::owner::{Asked, Owner, Reach, WAITING_MAX};
use super::panel::Shown;
use super::search::SearchOptions;
use super::status::{self, Status};
use super::{
    AgentError, BootFacts, COMMANDS_MAX, Config, ENDED_MAX, Parts, READ_PACKETS_PER_SECOND, RunningAgent, VERSION,
    anchors, cloud_link, engines, guard, keeping, lan, ledger, make_folder, memories, outgoing, profiles, settings,
    show_link_state, silent, standby, tasks,
};
use crate::board::Gesture;
use crate::discovery::{Fence, Paces};
use crate::enroll::machine::{Effect, Event, Found, Now, Phase};
use crate::enroll::{Credential, Enrolment, IdentityFolder, Label, reset};
use crate::printer::ReadOptions;
use crate::snmp::{Client, ClientConfig};
use crate::store::{Inventory, Limits, Outbox};
use crate::sys::{BoxClock, Clock, Fs, SystemClock, SystemEntropy, SystemFs};
use crate::uplink::{Dialer, GrpcCloud, LinkState, TimeKeeper, TlsSettings, WakeLink, WakeLinkConfig};

/// Largest file of pinned roots, in bytes.
const ROOTS_MAX_BYTES: usize = 64 * 1024;
/// Gestures that may wait.
const GESTURES_MAX: usize = 8;

/// What a person has before him: the button, and the light.
#[derive(Debug, Clone)]
pub struct Front {
    /// What the button says.
    pub gestures: broadcast::Sender<Gesture>,
    /// What the light is to show for a moment.
    pub shown: broadcast::Sender<Shown>,
}

impl Default for Front {
    fn default() -> Self {
        Self { gestures: broadcast::channel(GESTURES_MAX).0, shown: broadcast::channel(GESTURES_MAX).0 }
    }
}

/// Starts the box. `stop` ends it.
///
/// # Errors
/// Everything that waiting would not mend: configuration, identity, disk. A cloud that is not there is no such thing.
pub fn start(config: &Config, stop: CancellationToken) -> Result<RunningAgent, AgentError> {
    start_with(config, &Front::default(), stop)
}

/// As [`start`], with a button and a light.
///
/// # Errors
/// As [`start`].
pub fn start_with(config: &Config, front: &Front, stop: CancellationToken) -> Result<RunningAgent, AgentError> {
    let endpoints = config.endpoints()?;
    let fence = match &config.lan.fence {
        None => Fence::default(),
        Some(items) => Fence::parse(items).map_err(AgentError::Fence)?,
    };
    make_folder(&config.data_dir)?;
    if let Err(error) = make_folder(&config.runtime_dir) {
        tracing::error!(%error, "the box goes on without: nobody can look at its status, and no wake-up arrives");
    }
    let identity = IdentityFolder::in_data_dir(&config.data_dir).sealed_by(config.device.seal.as_deref())?;
    let roots_pem = roots(config, &identity)?;
    let time = TimeKeeper::open(&config.data_dir, SystemClock::start(&SystemEntropy)?);
    let clock = time.clock().clone();
    let (enrolment, first) = open_enrolment(config, &identity, &clock)?;
    let reach = Reach {
        endpoint: endpoints.grpc.clone(),
        proxy: endpoints.proxy.clone(),
        roots_pem: Arc::new(roots_pem),
        time,
    };
    let state = enrolment.state();
    let credential = match (identity.next()?, identity.current()?) {
        (Some(next), Some(_)) if state.has_next => Some(next),
        (_, current) => current,
    };
    let label = match &config.device.label {
        Some(path) => Some(Label::load(path).map_err(|e| AgentError::Label(e.to_string()))?),
        None => None,
    };
    let (ask, asked) = mpsc::channel(WAITING_MAX);
    let shown = Status {
        firmware_version: VERSION.to_owned(),
        box_id: credential.as_ref().map(|credential| credential.box_id.clone()).unwrap_or_default(),
        boot_id: clock.boot_id().to_owned(),
        state: "starting".to_owned(),
        started_unix_ms: clock.wall_unix_ms(),
        cloud: status::CloudStatus { endpoint: endpoints.grpc.to_string(), ..Default::default() },
        lan: status::LanStatus { fence: fence.items(), ..Default::default() },
        ..Status::default()
    };
    let owner = Owner {
        enrolment,
        identity,
        reach,
        label,
        model: config.device.model(),
        clock,
        status: watch::Sender::new(shown),
        asked,
        gestures: front.gestures.subscribe(),
        shown: front.shown.clone(),
        first,
    };
    match (&state.phase, credential) {
        (Phase::Disabled, Some(credential)) => disabled(config, owner, credential, ask, stop),
        (Phase::Active(_) | Phase::Renewing(_) | Phase::Expired(_), Some(credential)) => {
            at_work(config, endpoints, fence, owner, credential, ask, stop)
        }
        _ => {
            tracing::info!(phase = state.phase.word(), "this box belongs to nobody yet: nothing is read");
            let mut parts = Parts::new(config, owner.clock.clone(), &owner.status, ask, stop);
            parts.spawn("owner", |token| owner.run(token));
            Ok(parts.running())
        }
    }
}

/// Whom the box believes: what the image brings, or what came with its identity.
fn roots(config: &Config, identity: &IdentityFolder) -> Result<Vec<u8>, AgentError> {
    let Some(path) = &config.cloud.roots else {
        return match identity.roots()? {
            Some(roots) => Ok(roots),
            // Says what is missing, and how to come by it.
            None => identity.load().map(|identity| identity.tls.roots_pem).map_err(AgentError::from),
        };
    };
    crate::store::read_bounded(path, ROOTS_MAX_BYTES)
        .map_err(|source| AgentError::Make { what: format!("the pinned roots of {}", path.display()), source })
}

/// Reads the record, finishes a factory reset that was begun, and makes the box's key where there is none. What is left to do.
fn open_enrolment(
    config: &Config,
    identity: &IdentityFolder,
    clock: &BoxClock,
) -> Result<(Enrolment, Vec<Effect>), AgentError> {
    let kept = |source| AgentError::Make { what: "the record of enrolment".to_owned(), source };
    let found = match identity.found() {
        Ok(found) => found,
        // A certificate that cannot be read must not keep a reset from being finished. For anything else it is an error, and the
        // record stays as it is: a seal that is pulled out enables no disabled box.
        Err(_) if Enrolment::is_forgetting(&config.data_dir) => Found::default(),
        Err(error) => return Err(error.into()),
    };
    let (enrolment, mut first) = Enrolment::open(&config.data_dir, found, Now::by(clock)).map_err(kept)?;
    if first.contains(&Effect::Wipe) {
        tracing::warn!("the box forgets everything but whose it is");
        reset::wipe(&config.data_dir)
            .map_err(|source| AgentError::Make { what: "an empty data folder".to_owned(), source })?;
        make_folder(&config.data_dir)?;
        first = enrolment.apply(Event::Wiped, Now::by(clock)).map_err(kept)?;
        first.retain(|effect| *effect != Effect::Restart);
    }
    if first.contains(&Effect::MakeKeys) {
        first.retain(|effect| *effect != Effect::MakeKeys);
        match identity.make_bound_key() {
            Ok(()) => first.extend(enrolment.apply(Event::KeysMade, Now::by(clock)).map_err(kept)?),
            // It is at work with its certificate, perhaps on a disk that takes nothing: the key is made at a better start.
            Err(error) if enrolment.state().is_claimed() => tracing::error!(%error, "the box has no bound key yet"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((enrolment, first))
}

fn disabled(
    config: &Config,
    owner: Owner,
    credential: Credential,
    ask: mpsc::Sender<Asked>,
    stop: CancellationToken,
) -> Result<RunningAgent, AgentError> {
    if let Some(why) = owner.enrolment.disabled() {
        tracing::error!(cause = why.cause, detail = why.detail, "this box is disabled: nothing is read");
        owner.status.send_modify(|status| status.disabled = Some(format!("{}: {}", why.cause, why.detail)));
    }
    let log = outgoing::OutgoingLog::start(&config.runtime_dir, owner.clock.clone());
    // Its certificate may have ended meanwhile; then it asks without.
    let shows = Some(&credential).filter(|credential| credential.validity.until_unix_ms > owner.clock.wall_unix_ms());
    let guard = guard::Guard {
        cloud: outgoing::Kept { cloud: owner.reach.cloud(shows)?, log: log.clone() },
        clock: owner.clock.clone(),
        enrolment: owner.enrolment.clone(),
        certificates: certificates(&owner, log)?,
        box_id: credential.box_id,
        status: owner.status.clone(),
    };
    let mut parts = Parts::new(config, owner.clock.clone(), &owner.status, ask, stop);
    parts.spawn("owner", |token| owner.run(token));
    parts.spawn("guard", |token| guard.run(token));
    Ok(parts.running())
}

fn certificates(
    owner: &Owner,
    log: outgoing::OutgoingLog,
) -> Result<Certificates<outgoing::Kept<GrpcCloud>>, AgentError> {
    Ok(Certificates {
        identity: owner.identity.clone(),
        stranger: outgoing::Kept { cloud: owner.reach.cloud(None)?, log },
        cloud_key: owner.reach.cloud_key(),
    })
}

fn at_work(
    config: &Config,
    endpoints: CloudEndpoints,
    fence: Fence,
    owner: Owner,
    credential: Credential,
    ask: mpsc::Sender<Asked>,
    stop: CancellationToken,
) -> Result<RunningAgent, AgentError> {
    let credentials = config.snmp.credentials()?;
    let profile_key = config.profiles.key()?;
    let clock = owner.clock.clone();
    let boot = BootFacts { boot_id: clock.boot_id().to_owned() };
    let tls = TlsSettings::new(&credential.tls(&owner.reach.roots_pem)).map_err(AgentError::Tls)?;
    let dialer = Dialer::new(tls.with_time(owner.reach.time.clone()), endpoints.proxy);
    let log_of_sent = outgoing::OutgoingLog::start(&config.runtime_dir, clock.clone());
    let cloud =
        outgoing::Kept { cloud: GrpcCloud::new(dialer.clone(), endpoints.grpc.clone()), log: log_of_sent.clone() };
    let certificates = certificates(&owner, log_of_sent)?;
    let box_id = credential.box_id;
    let status = owner.status.clone();
    let light = owner.shown.clone();
    let outbox_dir = config.data_dir.join("outbox");
    let limits = SystemFs.partition_bytes(&config.data_dir).map_or(Limits::default(), Limits::for_partition);
    let outbox = SharedOutbox::new(move || Outbox::open(&outbox_dir, limits), Arc::new(SystemEntropy), false)?;
    let journal = tasks::TaskJournal::open(config.data_dir.join("tasks.json"));
    let settings = settings::CloudSettings::open(config.data_dir.join("cloud-settings.json"));
    let inventory_file = config.data_dir.join("inventory.json");
    let (inventory, damage) = Inventory::load(&SystemFs, &inventory_file);
    if let Some(what) = damage {
        tracing::warn!(%what, "the inventory is damaged, or cannot be read; a search finds the printers again");
    }

    status.send_modify(|status| status.outbox = outbox.level().borrow().clone());
    let (link_state, link_state_reader) = watch::channel(LinkState::Connecting);
    let (wake, wakes) = mpsc::channel(1); // a second wake-up before the poll adds nothing
    let (commands, commands_reader) = mpsc::channel(COMMANDS_MAX);
    let (ended, ended_reader) = mpsc::channel(ENDED_MAX);
    let (standby, standby_reader) = watch::channel(standby::Standby::default());

    let packets_per_second = config.snmp.packets_per_second.unwrap_or_default().max(READ_PACKETS_PER_SECOND);
    let client = Client::open(ClientConfig { packets_per_second: Some(packets_per_second), ..ClientConfig::default() })
        .map_err(|source| AgentError::Make { what: "the SNMP socket".to_owned(), source })?;
    let engine_file = engines::EngineFile::in_data_dir(&config.data_dir);
    client.remember_engines(engine_file.load(&clock));
    let timing = config.snmp.timing();
    let profiles = profiles::load(&config.data_dir, profile_key.as_ref());

    let wake_link = WakeLink::new(
        WakeLinkConfig { endpoint: endpoints.mqtt, box_id, runtime_dir: config.runtime_dir.clone() },
        dialer,
        link_state,
        wake,
    );
    let lan = lan::Lan {
        client,
        clock: clock.clone(),
        boot: boot.clone(),
        options: SearchOptions {
            port: config.snmp.port,
            credentials,
            timing,
            paces: Paces::wanted(config.snmp.packets_per_second),
            skip: HashSet::new(),
            lockout: Arc::default(),
            read: ReadOptions { address: None, profiles, panel: config.lan.panel_text },
        },
        fence: fence.clone(),
        own_ranges: config.lan.ranges.clone(),
        own_read_interval: Duration::from_secs(config.schedule.read_interval_s.max(1)),
        scan_interval: Duration::from_secs(config.schedule.scan_interval_s.max(60)),
        settings: settings.clone(),
        inventory,
        inventory_file,
        outbox: outbox.clone(),
        status: status.clone(),
        commands: commands_reader,
        ended,
        health: HashMap::new(),
        memories: memories::Memories::default(),
        ledger: ledger::Ledger::open(config.data_dir.join("ledger.json")),
        own_look_interval: Duration::from_secs(config.schedule.status_interval_s.max(1)),
        inventory_kept: keeping::InventoryKept::default(),
        standby: standby_reader,
        displaced: silent::Displaced::default(),
        engine_file,
        engines_kept: 0,
    };
    let (outbox_for_anchors, anchor_boot) = (outbox.clone(), boot.clone());
    let cloud_link = cloud_link::CloudLink {
        cloud,
        clock: clock.clone(),
        boot,
        poll_interval: Duration::from_secs(config.schedule.poll_interval_s.max(5)),
        outbox,
        journal,
        settings,
        status: status.clone(),
        wake: wakes,
        link_state: link_state_reader.clone(),
        lan: commands,
        ended: ended_reader,
        standby,
        fence,
        pings: JoinSet::new(),
        enrolment: owner.enrolment.clone(),
        certificates: Some(certificates),
        shown: Some(light),
    };

    let (anchor_clock, anchor_outbox) = (clock.clone(), outbox_for_anchors);
    let enrolment_owner = owner;
    let mut parts = Parts::new(config, clock, &status, ask, stop);
    parts.spawn("owner", |token| enrolment_owner.run(token));
    parts.spawn("clock anchors", |token| anchors::keep(anchor_clock, anchor_boot, anchor_outbox, token));
    parts.spawn("lan", |token| lan.run(token));
    parts.spawn("cloud", |token| cloud_link.run(token));
    parts.spawn("wake-up link", async move |token| {
        wake_link.run(token).await;
        Ok(())
    });
    parts.spawn("wake-up state", |token| show_link_state(link_state_reader, status, token));
    Ok(parts.running())
}
