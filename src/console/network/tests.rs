//! Trials with a network that is made up: how they end, and what a power cut in the middle of one leaves.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::sys::{Fault, FaultFs};

/// A network in memory. It may be shared by the box before a power cut and the box after it.
#[derive(Debug, Default)]
struct MadeUp {
    /// Whoever was killed changes nothing any more.
    disk: Option<FaultFs>,
    live: Mutex<Option<Settings>>,
    applied: Mutex<usize>,
    fails: AtomicBool,
}

impl Backend for Arc<MadeUp> {
    fn name(&self) -> &'static str {
        "nobody"
    }

    fn apply(&self, settings: Option<&Settings>) -> Result<(), BackendError> {
        if self.disk.as_ref().is_some_and(FaultFs::is_killed) {
            return Err(BackendError::Nobody);
        }
        *self.applied.lock().unwrap() += 1;
        // It fails half-way.
        *self.live.lock().unwrap() = settings.cloned();
        if self.fails.load(Ordering::Relaxed) && settings.is_some_and(|settings| settings.vlan == Some(13)) {
            return Err(BackendError::Nobody);
        }
        Ok(())
    }
}

struct World {
    folder: tempfile::TempDir,
    made_up: Arc<MadeUp>,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), made_up: Arc::default() }
    }

    fn network(&self) -> Network<Arc<MadeUp>> {
        Network::new(self.folder.path(), self.made_up.clone())
    }

    fn live(&self) -> Option<Settings> {
        self.made_up.live.lock().unwrap().clone()
    }

    fn files(&self) -> Vec<String> {
        let mut files = SystemFs.list(self.folder.path()).unwrap();
        files.sort();
        files
    }
}

fn vlan(id: u16) -> Settings {
    Settings { vlan: Some(id), ..Settings::default() }
}

async fn never() {
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn a_change_is_kept_when_the_test_passes_or_somebody_types_keep_and_else_undone_after_two_minutes() {
    let world = World::new();
    let network = world.network();
    let mut tests = 0;
    let third = async || {
        tests += 1;
        tests == 3
    };
    assert_eq!(network.try_out(vlan(1), third, never()).await.unwrap(), TrialEnd::Passed);
    assert_eq!((world.live(), network.settings()), (Some(vlan(1)), vlan(1)));
    let keep = sleep(Duration::from_secs(60));
    assert_eq!(network.try_out(vlan(2), async || false, keep).await.unwrap(), TrialEnd::Kept);
    assert_eq!((world.live(), network.settings()), (Some(vlan(2)), vlan(2)));
    let began = Instant::now();
    assert_eq!(network.try_out(vlan(3), async || false, never()).await.unwrap(), TrialEnd::TimeUp);
    assert!((TRIAL_LIMIT..TRIAL_LIMIT + Duration::from_secs(1)).contains(&began.elapsed()));
    assert_eq!((world.live(), network.settings()), (Some(vlan(2)), vlan(2)));
    // A test that never ends does not keep it from being undone.
    let endless = async || {
        never().await;
        true
    };
    assert_eq!(network.try_out(vlan(3), endless, never()).await.unwrap(), TrialEnd::TimeUp);
    assert_eq!(world.live(), Some(vlan(2)));
    assert_eq!(world.files(), [KEPT_FILE]);
    assert_eq!(network.show(), "ipv4 dhcp, dns auto, vlan 2, ipv6 on (by nobody)");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_applied_is_undone_at_once() {
    let world = World::new();
    world.made_up.fails.store(true, Ordering::Relaxed);
    let network = world.network();
    assert!(network.show().starts_with("never set here"));
    network.try_out(vlan(13), async || true, never()).await.unwrap_err();
    assert_eq!((world.live(), world.files().len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_durable_intent_nothing_is_changed() {
    let world = World::new();
    let network = Network::new(&world.folder.path().join("missing"), world.made_up.clone());
    let error = network.try_out(vlan(1), async || true, never()).await.unwrap_err();
    assert!(error.to_string().contains("the network is left as it is"), "{error}");
    assert_eq!(*world.made_up.applied.lock().unwrap(), 0);
}

/// The power fails while the change is tried: the future is dropped, and nothing of it goes on.
#[tokio::test(start_paused = true)]
async fn a_box_whose_power_fails_in_a_trial_is_as_before_after_its_next_start() {
    let world = World::new();
    for kept in [None, Some(vlan(1))] {
        if let Some(kept) = &kept {
            world.network().try_out(kept.clone(), async || true, never()).await.unwrap();
        }
        let cut = tokio::time::timeout(Duration::from_secs(60), async {
            world.network().try_out(vlan(2), async || false, never()).await
        });
        cut.await.unwrap_err();
        assert_eq!(world.live(), Some(vlan(2)));
        assert!(world.network().recover().await.unwrap());
        assert_eq!(world.live(), kept);
        assert!(!world.network().recover().await.unwrap());
    }
    assert_eq!(world.files(), [KEPT_FILE]);
}

#[tokio::test]
async fn a_damaged_intent_leads_back_to_what_was_kept_and_damaged_settings_to_what_there_was() {
    let world = World::new();
    let write = |name: &str, text: &str| std::fs::write(world.folder.path().join(name), text).unwrap();
    write(KEPT_FILE, &serde_json::to_string(&vlan(1)).unwrap());
    write(INTENT_FILE, "{");
    assert!(world.network().recover().await.unwrap());
    assert_eq!(world.live(), Some(vlan(1)));
    write(KEPT_FILE, "{");
    write(INTENT_FILE, &serde_json::to_string(&Intent { old: Some(vlan(5)), new: vlan(6) }).unwrap());
    assert!(world.network().recover().await.unwrap());
    assert_eq!((world.live(), world.files()), (Some(vlan(5)), vec![KEPT_FILE.to_owned()]));
    assert_eq!(world.network().settings(), vlan(5));
    // Damaged settings without a trial keep nobody from setting them anew.
    write(KEPT_FILE, "{");
    assert_eq!(world.network().settings(), Settings::default());
}

#[tokio::test]
async fn a_start_without_a_trial_looks_at_nothing() {
    let world = World::new();
    assert!(!recover_at_start(world.folder.path(), "nosuch0").await.unwrap());
}

/// The disk is one that loses what was not synced, at each of its calls in turn; and again while that is undone.
#[tokio::test(start_paused = true)]
async fn a_power_cut_at_any_call_to_the_disk_leaves_the_network_as_it_was_kept() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut ends, dir) = ([0, 0], Path::new("/data"));
    for (first_cut, second_cut, is_kept) in (0..20)
        .flat_map(|first| (0..12).map(move |second| (first, second)))
        .flat_map(|(first, second)| [(first, second, true), (first, second, false)])
    {
        let disk = FaultFs::default();
        disk.create_dir_all(dir).unwrap();
        let made_up = Arc::new(MadeUp { disk: Some(disk.clone()), ..MadeUp::default() });
        let network = || Network::on(Arc::new(disk.clone()), dir, made_up.clone());
        network().try_out(vlan(1), async || true, never()).await.unwrap();
        let power_cut = |random: &mut fastrand::Rng| {
            disk.crash(random);
            disk.repair();
        };

        disk.fail(first_cut + 1, Fault::Killed);
        let ended = network().try_out(vlan(2), async || is_kept, never()).await;
        power_cut(&mut random);
        disk.fail(second_cut + 1, Fault::Killed);
        let _cut = network().recover().await;
        power_cut(&mut random);
        network().recover().await.unwrap();

        let kept = network().settings();
        assert_eq!(*made_up.live.lock().unwrap(), Some(kept.clone()), "cut at {first_cut} and {second_cut}");
        assert!(!network().recover().await.unwrap());
        match ended {
            Ok(TrialEnd::Passed) => assert_eq!(kept, vlan(2)),
            Ok(_) => assert_eq!(kept, vlan(1)),
            Err(_) => assert!(is_kept || kept == vlan(1), "not kept, and there all the same"),
        }
        ends[usize::from(kept == vlan(2))] += 1;
    }
    assert!(ends.iter().all(|count| *count > 50), "{ends:?}");
}
