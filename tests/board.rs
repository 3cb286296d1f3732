//! The board's hardware: look-alikes of the kernel's files, and the kernel's own simulated devices where it has them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

use std::path::{Path, PathBuf};
use std::time::Duration;

use platen::board::{
    Board, BoardConfig, Button, Edge, EvdevButton, GpioButton, GpioLed, Led, Light, Patterns, Pull, Roots, Signal,
    SysfsLed,
};
use platen::board::{Colour, Panel};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A folder that looks like /sys/class/leds/NAME.
struct LookAlike {
    root: tempfile::TempDir,
    name: &'static str,
}

impl LookAlike {
    fn new(max_brightness: &str, triggers: &str) -> Self {
        let it = Self { root: tempfile::tempdir().unwrap(), name: "ACT" };
        std::fs::create_dir(it.root.path().join(it.name)).unwrap();
        for (name, text) in
            [("max_brightness", max_brightness), ("brightness", "1"), ("trigger", triggers), ("pattern", "")]
        {
            it.write(name, text);
        }
        it
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(self.name).join(file)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), format!("{text}\n")).unwrap();
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap().trim().to_owned()
    }

    fn open(&self) -> SysfsLed {
        SysfsLed::open(self.root.path(), self.name, false).unwrap()
    }
}

#[test]
fn every_board_file_is_sound_and_lies_in_the_folder_of_its_name() {
    let mut models = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("board");
    let mut boards = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let board = BoardConfig::load(&path.join("board.toml")).unwrap();
            assert_eq!(Some(board.name.as_str()), path.file_name().unwrap().to_str());
            models.extend(board.models);
            boards += 1;
        }
    }
    assert!(boards >= 5);
    for (n, one) in models.iter().enumerate() {
        let fits_too = models.iter().enumerate().any(|(m, other)| m != n && other.contains(one.as_str()));
        assert!(!fits_too, "two boards fit {one}");
    }
}

#[test]
fn an_led_of_the_kernels_is_taken_from_its_trigger_and_set() {
    let files = LookAlike::new("255", "none [mmc0] timer");
    let mut led = files.open();
    assert_eq!((files.read("trigger").as_str(), files.read("brightness").as_str()), ("none", "0"));
    assert!(led.has_levels());
    led.show(Light { level: 25, colour: Some(Colour::Red) }).unwrap();
    assert_eq!(files.read("brightness"), "25");
    let rhythm = &Patterns::built_in().of(Signal::Fault).rhythm;
    assert!(!led.play(rhythm, None).unwrap(), "this kernel has no patterns");
    assert_eq!((files.read("trigger").as_str(), files.read("brightness").as_str()), ("none", "25"));
}

#[test]
fn an_led_that_is_only_on_or_off_is_on_at_every_level() {
    let files = LookAlike::new("1", "[none]");
    let mut led = files.open();
    assert!(!led.has_levels());
    for (level, expected) in [(1, "1"), (255, "1"), (0, "0")] {
        led.show(Light { level, colour: None }).unwrap();
        assert_eq!(files.read("brightness"), expected);
    }
    let files = LookAlike::new("255", "[none]");
    assert!(!SysfsLed::open(files.root.path(), "ACT", true).unwrap().has_levels());
}

#[test]
fn a_rhythm_is_handed_to_a_kernel_that_can_play_it_and_taken_back() {
    let files = LookAlike::new("255", "[none] pattern timer");
    let mut led = files.open();
    assert!(led.play(&Patterns::built_in().of(Signal::Updating).rhythm, Some(Colour::White)).unwrap());
    assert_eq!(files.read("trigger"), "pattern");
    assert_eq!(files.read("pattern"), "255 600 255 0 0 200 0 0", "without fading from one to the next");
    assert!(!led.play(&Patterns::built_in().of(Signal::Starting).rhythm, None).unwrap(), "breathing is done by hand");
    led.show(Light::DARK).unwrap();
    assert_eq!((files.read("trigger").as_str(), files.read("brightness").as_str()), ("none", "0"));
}

#[test]
fn an_led_of_several_colours_gets_them_in_its_own_order() {
    let files = LookAlike::new("100", "[none] pattern");
    files.write("multi_index", "green red blue");
    files.write("multi_intensity", "0 0 0");
    let mut led = files.open();
    led.show(Light { level: 255, colour: Some(Colour::Red) }).unwrap();
    assert_eq!((files.read("multi_intensity").as_str(), files.read("brightness").as_str()), ("18 100 0", "100"));
    led.show(Light { level: 255, colour: Some(Colour::White) }).unwrap();
    assert_eq!(files.read("multi_intensity"), "100 100 100");
    files.write("multi_index", "red green blue white");
    let mut led = files.open();
    led.show(Light { level: 255, colour: Some(Colour::White) }).unwrap();
    assert_eq!(files.read("multi_intensity"), "0 0 0 100", "its own white");
}

#[test]
fn missing_hardware_is_named_with_its_remedy_and_ends_nothing() {
    let empty = tempfile::tempdir().unwrap();
    let roots = Roots { leds: empty.path().to_owned(), input: empty.path().to_owned() };
    let text = "name = \"x\"\n[led]\nkind = \"sysfs\"\nname = \"ACT\"\n[button]\nkind = \"evdev\"\ndevice = \"gpio-keys\"\nkey = \"KEY_POWER\"\n";
    let mut board = Board::open(&BoardConfig::parse("x", text).unwrap(), &roots);
    board.led.show(Light { level: 255, colour: None }).unwrap();
    assert!(board.button.is_none());
    let [led, button] = [&board.troubles[0], &board.troubles[1]].map(ToString::to_string);
    assert!(led.contains("ACT") && led.contains("/sys/class/leds"), "{led}");
    assert!(button.contains("gpio-keys") && button.contains("/proc/bus/input/devices"), "{button}");
    let odd = EvdevButton::open(empty.path(), "gpio-keys", "KEY_NONSENSE").unwrap_err().to_string();
    assert!(odd.contains("KEY_NONSENSE"), "{odd}");
    for error in [
        GpioLed::open(Path::new("/dev/no-such-chip"), &[1], false).err(),
        GpioButton::open(Path::new("/dev/no-such-chip"), 1, true, Pull::Up).err(),
    ] {
        let error = error.unwrap().to_string();
        assert!(error.contains("/dev/no-such-chip") && error.contains("gpioinfo"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panel_on_an_led_of_the_kernels_leaves_the_rhythm_to_it_and_the_light_goes_on_afterwards() {
    let files = LookAlike::new("255", "[none] pattern");
    let (panel, handle, _gestures) = Panel::new(Box::new(files.open()), None, false);
    let stop = CancellationToken::new();
    let running = tokio::spawn(panel.run(stop.clone()));
    handle.set(&[Signal::Unclaimed]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(files.read("pattern"), "255 1000 255 0 0 1000 0 0");
    assert_eq!(files.read("trigger"), "pattern");
}

/// The next edge; a busy machine may take its time.
async fn next(edges: &mut mpsc::Receiver<Edge>) -> bool {
    tokio::time::timeout(Duration::from_secs(20), edges.recv())
        .await
        .expect("no edge came")
        .expect("it is gone")
        .pressed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_kernels_is_a_button() {
    use evdev::{AttributeSet, EventType, InputEvent, KeyCode, uinput::VirtualDevice};
    let mut keys = AttributeSet::<KeyCode>::new();
    keys.insert(KeyCode::KEY_RESTART);
    keys.insert(KeyCode::KEY_A);
    let made = VirtualDevice::builder().and_then(|it| it.name("platen-test-keys").with_keys(&keys)?.build());
    let mut keyboard = match made {
        Ok(keyboard) => keyboard,
        Err(error) => {
            eprintln!("SKIPPED: no virtual keyboard can be made here (/dev/uinput): {error}");
            return;
        }
    };
    let mut set = |key: KeyCode, value: i32| {
        keyboard.emit(&[InputEvent::new(EventType::KEY.0, key.0, value)]).unwrap();
    };
    set(KeyCode::KEY_RESTART, 1);
    let mut opened = EvdevButton::open(Path::new("/dev/input"), "platen-test-keys", "KEY_RESTART");
    for _ in 0..100 {
        if opened.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // udev makes the file
        opened = EvdevButton::open(Path::new("/dev/input"), "platen-test-keys", "KEY_RESTART");
    }
    let mut button = Box::new(opened.unwrap());
    assert!(button.is_pressed(), "it was pressed before it was opened");
    let mut edges = button.edges().unwrap();
    set(KeyCode::KEY_RESTART, 0);
    assert!(!next(&mut edges).await);
    set(KeyCode::KEY_A, 1);
    set(KeyCode::KEY_A, 0);
    set(KeyCode::KEY_RESTART, 1);
    assert!(next(&mut edges).await, "and another key is none");
    set(KeyCode::KEY_RESTART, 0);
    assert!(!next(&mut edges).await);
}

/// A chip of the kernel's simulator (Documentation/admin-guide/gpio/gpio-sim.rst), gone when dropped.
struct SimulatedChip {
    config: PathBuf,
    dev: PathBuf,
    sysfs: PathBuf,
}

impl SimulatedChip {
    fn new() -> std::io::Result<Self> {
        use std::fs;
        let config = Path::new("/sys/kernel/config/gpio-sim").join(format!("platen-{}", std::process::id()));
        let bank = config.join("bank0");
        fs::create_dir(&config)?;
        let mut chip = Self { config: config.clone(), dev: PathBuf::new(), sysfs: PathBuf::new() };
        fs::create_dir(&bank)?;
        fs::write(bank.join("num_lines"), "4")?;
        fs::write(config.join("live"), "1")?;
        let read = |file: PathBuf| fs::read_to_string(file).map(|text| text.trim().to_owned());
        let name = read(bank.join("chip_name"))?;
        chip.sysfs = Path::new("/sys/devices/platform").join(read(config.join("dev_name"))?).join(&name);
        chip.dev = Path::new("/dev").join(name);
        Ok(chip)
    }

    fn pull(&self, line: u32, up: bool) {
        let file = self.sysfs.join(format!("sim_gpio{line}/pull"));
        std::fs::write(file, if up { "pull-up" } else { "pull-down" }).unwrap();
    }

    fn value(&self, line: u32) -> String {
        std::fs::read_to_string(self.sysfs.join(format!("sim_gpio{line}/value"))).unwrap().trim().to_owned()
    }
}

impl Drop for SimulatedChip {
    fn drop(&mut self) {
        let _ = std::fs::write(self.config.join("live"), "0");
        let _ = std::fs::remove_dir(self.config.join("bank0"));
        let _ = std::fs::remove_dir(&self.config);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_gpio_chip_are_an_led_and_a_button() {
    let chip = match SimulatedChip::new() {
        Ok(chip) => chip,
        Err(error) => {
            eprintln!("SKIPPED: no GPIO chip can be simulated here (gpio-sim in configfs): {error}");
            return;
        }
    };
    for _ in 0..100 {
        if chip.dev.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // udev makes the file
    }
    let mut led = GpioLed::open(&chip.dev, &[0, 1, 2], true).unwrap();
    led.show(Light { level: 255, colour: Some(Colour::Red) }).unwrap();
    assert_eq!([0, 1, 2].map(|line| chip.value(line)), ["0", "1", "1"], "red, and low is light");
    chip.pull(3, false);
    let mut button = Box::new(GpioButton::open(&chip.dev, 3, true, Pull::None).unwrap());
    assert!(button.is_pressed());
    let mut edges = button.edges().unwrap();
    chip.pull(3, true);
    assert!(!next(&mut edges).await);
    chip.pull(3, false);
    assert!(next(&mut edges).await);
    let taken = GpioLed::open(&chip.dev, &[0], false).unwrap_err().to_string();
    assert!(taken.contains("gpioinfo"), "{taken}");
}
