//! The commands of the console: one table of what there is, who may, and what is said about it. What is not in it cannot be done.

/// What a command does; the table says it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Help,
    Status,
    Setup,
    Network,
    Dns,
    Proxy,
    Ranges,
    Fence,
    Claim,
    Register,
    Cancel,
    Confirm,
    Test,
    Tunnel,
    Light,
    Log,
    Unlock,
    Code,
    Reboot,
    FactoryReset,
    ExportDiag,
    Lock,
    Exit,
}

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whoever has a cable.
    Anyone,
    /// Of a claimed box, whoever knows the code.
    Holder,
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// Its first word.
    pub name: &'static str,
    /// What it does.
    pub verb: Verb,
    /// Who may.
    pub who: Who,
    /// The words after it, as they are written.
    pub usage: &'static str,
    /// Beginnings of what may follow, for the tabulator.
    pub words: &'static [&'static str],
    /// One line.
    pub brief: &'static str,
    /// More, with an example.
    pub long: &'static str,
    /// Most words after it.
    pub words_max: usize,
}

const fn command(
    name: &'static str,
    verb: Verb,
    (usage, words, words_max): (&'static str, &'static [&'static str], usize),
    brief: &'static str,
    long: &'static str,
) -> Command {
    let who = match verb {
        Verb::Help | Verb::Status | Verb::Light | Verb::Lock | Verb::Exit => Who::Anyone,
        _ => Who::Holder,
    };
    Command { name, verb, who, usage, words, brief, long, words_max }
}

/// All of them, in the order in which they are listed.
pub static COMMANDS: [Command; 23] = [
    command(
        "help",
        Verb::Help,
        ("[COMMAND]", &[], 1),
        "what there is, or what one command does",
        "Without a word it lists the commands; with one it explains that command.
Example: help claim",
    ),
    command(
        "status",
        Verb::Status,
        ("", &[], 0),
        "how the box is, what ails it, and what to do",
        "Of a claimed box it shows little until the code was typed.
The first line is the word that the light shows too; `led` explains it.
Example: status",
    ),
    command(
        "setup",
        Verb::Setup,
        ("", &[], 0),
        "lead me: network, test, claim",
        "Goes through what a new box needs, in order. Ctrl-C ends it at any point.
Example: setup",
    ),
    command(
        "network",
        Verb::Network,
        ("[dhcp | static … | vlan … | ipv6 … | keep]", &["dhcp", "static ", "vlan ", "ipv6 ", "keep"], 16),
        "show or change address, VLAN, IPv6",
        "Without a word it shows what is in force.
A change is on trial: it stays only if a test passes within two minutes, or if
you type `network keep`. Else the box goes back by itself, so that a typing
error does not cut it off.
Example: network static 192.168.1.9/24 192.168.1.1",
    ),
    command(
        "dns",
        Verb::Dns,
        ("[ADDRESS… | auto]", &["auto"], 8),
        "show or set the DNS servers",
        "`dns auto` takes those that DHCP names.
Example: dns 192.168.1.1",
    ),
    command(
        "proxy",
        Verb::Proxy,
        ("[set HOST:PORT [USER] | off | default]", &["set ", "off", "default"], 3),
        "show or set the HTTP proxy on the way to the cloud",
        "With a user it asks for the password, which is not shown. `proxy off` goes
without one whatever the configuration says, `proxy default` by it.
Example: proxy set proxy.example:3128 printbox",
    ),
    command(
        "ranges",
        Verb::Ranges,
        ("[set RANGE… | default]", &["set ", "default"], 64),
        "show or set where printers are looked for",
        "A range is 10.0.0.0/24, 10.0.0.1-10.0.0.99, 10.0.0.7 or a name; !10.0.0.5
leaves out. They hold until the portal sets others; never outside of the fence.
Example: ranges set 192.168.1.0/24 !192.168.1.7",
    ),
    command(
        "fence",
        Verb::Fence,
        ("[set RANGE… | default]", &["set ", "default"], 64),
        "show or set what the box may ask at all",
        "Nothing outside of the fence gets a packet, whatever the portal says; it can be
set here alone. `fence default` means private addresses.
Example: fence set 192.168.0.0/16 10.7.0.0/24",
    ),
    command(
        "claim",
        Verb::Claim,
        ("[ascii]", &["ascii"], 1),
        "make this box yours, by a code that you type in the portal",
        "Shows a code, its address as a QR code, and four words that the portal must
show too. Somebody then presses the button of the box, or types `confirm` here.
With `ascii` all is drawn without special characters, and is higher.
Example: claim",
    ),
    command(
        "register",
        Verb::Register,
        ("CODE", &[], 1),
        "make this box yours, by a code from the portal",
        "The portal gives such a code for one box; it can be used once.
Example: register 7KQF-93XW",
    ),
    command(
        "cancel",
        Verb::Cancel,
        ("", &[], 0),
        "end a claim that is under way",
        "Nothing of it stays.
Example: cancel",
    ),
    command(
        "confirm",
        Verb::Confirm,
        ("", &[], 0),
        "say that you stand before the box, instead of its button",
        "Only when `claim` or the light asks for it.
Example: confirm",
    ),
    command(
        "test",
        Verb::Test,
        ("[PRINTER]", &[], 1),
        "test the way to the cloud, step by step",
        "Cable, address, gateway, DNS, time, proxy, ports, TLS, cloud; it stops at the
first thing that fails and says what to tell the people of the network.
With an address it reads that printer too.
Example: test 192.168.1.20",
    ),
    command(
        "tunnel",
        Verb::Tunnel,
        ("on | off", &["on", "off"], 1),
        "allow or forbid opening printers' pages from the portal",
        "`tunnel off` wins over the portal, and ends what is open.
Example: tunnel off",
    ),
    command(
        "led",
        Verb::Light,
        ("[all | mute | on]", &["all", "mute", "on"], 1),
        "what the light means now, or all that it can say",
        "`led mute` keeps it dark while nothing is wrong; `led on` ends that.
Example: led all",
    ),
    command(
        "log",
        Verb::Log,
        ("[tail N]", &["tail "], 2),
        "what the box noted last",
        "20 lines, or as many as you say, up to 200.
Example: log tail 50",
    ),
    command(
        "unlock",
        Verb::Unlock,
        ("", &[], 0),
        "enable a disabled box when it cannot reach its cloud",
        "Shows a code that you read to somebody at the portal; what the portal answers
is typed here. It holds for 15 minutes; five wrong answers end it for a day.
Example: unlock",
    ),
    command(
        "code",
        Verb::Code,
        ("change | label", &["change", "label"], 1),
        "change the code of this console, or go back to the label's",
        "Afterwards the code on the label does not open the console any more. Whoever
forgets it resets the box by its button.
Example: code change",
    ),
    command(
        "reboot",
        Verb::Reboot,
        ("", &[], 0),
        "start the box anew",
        "Nothing is lost by it. It takes about a minute.
Example: reboot",
    ),
    command(
        "factory-reset",
        Verb::FactoryReset,
        ("", &[], 0),
        "forget everything but whose box it is",
        "Says first what would be lost, and wants the word RESET and the code.
Example: factory-reset",
    ),
    command(
        "export-diag",
        Verb::ExportDiag,
        ("", &[], 0),
        "print what a supporter needs, without names and addresses",
        "Copy it from the screen; it stands between two marks. Serial numbers, names and
all but the last part of addresses are left out.
Example: export-diag",
    ),
    command(
        "lock",
        Verb::Lock,
        ("", &[], 0),
        "ask for the code again",
        "It locks itself after five minutes without a key.
Example: lock",
    ),
    command(
        "exit",
        Verb::Exit,
        ("", &[], 0),
        "leave: lock the console, and end it where it is a program",
        "Ctrl-D on an empty line does the same.
Example: exit",
    ),
];

/// Other words that people type, and what they mean.
const ALIASES: [(&str, &str); 6] =
    [("?", "help"), ("logout", "exit"), ("quit", "exit"), ("ip", "network"), ("restart", "reboot"), ("light", "led")];

/// The command with this name, in whatever case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Command> {
    let name = name.to_ascii_lowercase();
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, meant)| meant);
    COMMANDS.iter().find(|command| command.name == name)
}

/// The command that was probably meant by an unknown word.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    const FARTHEST: usize = 2;
    let name = name.to_ascii_lowercase();
    let begins = |command: &&Command| name.len() >= 2 && command.name.starts_with(&name);
    let by_beginning = COMMANDS.iter().find(begins).map(|command| command.name);
    by_beginning.or_else(|| {
        let far = |command: &Command| strsim::osa_distance(&name, command.name);
        // Of a word of two letters, two wrong ones are all.
        let near = |command: &&Command| far(command) <= FARTHEST.min(name.chars().count() / 2);
        COMMANDS.iter().filter(near).min_by_key(|command| far(command)).map(|command| command.name)
    })
}

/// What the tabulator finds.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// What is certain, to be put in.
    pub insert: String,
    /// What there is to choose from, where it is not.
    pub choices: Vec<&'static str>,
}

/// Completes the line before the cursor.
#[must_use]
pub fn complete(before: &str) -> Completion {
    let before = before.trim_start();
    let (typed, candidates): (&str, Vec<&'static str>) = match before.split_once(' ') {
        None => (before, COMMANDS.iter().map(|command| command.name).collect()),
        Some((name, rest)) => {
            let all = match find(name) {
                Some(command) if command.verb == Verb::Help => COMMANDS.iter().map(|command| command.name).collect(),
                Some(command) => command.words.to_vec(),
                None => Vec::new(),
            };
            (rest.trim_start(), all)
        }
    };
    let choices: Vec<&'static str> = candidates.into_iter().filter(|word| word.starts_with(typed)).collect();
    let common = choices.iter().copied().reduce(common_beginning).unwrap_or_default();
    let mut insert = common.get(typed.len()..).unwrap_or_default().to_owned();
    if let [only] = choices.as_slice()
        && !only.ends_with(' ')
    {
        insert.push(' ');
    }
    Completion { insert, choices }
}

fn common_beginning(a: &'static str, b: &'static str) -> &'static str {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    // All names are ASCII.
    a.get(..same).unwrap_or_default()
}

/// The list of all commands.
#[must_use]
pub fn overview(locked: bool) -> String {
    let mut text = String::from("Commands (TAB completes, `help COMMAND` tells more):\n");
    for command in &COMMANDS {
        let mark = if locked && command.who == Who::Holder { '*' } else { ' ' };
        text.push_str(&format!(" {mark}{:<14}{}\n", command.name, command.brief));
    }
    if locked {
        text.push_str("* asks for the code, as this box is claimed.\n");
    }
    text.push_str("A new box? Type `setup`.");
    text
}

/// All that is said about one.
#[must_use]
pub fn explain(command: &Command) -> String {
    format!("{} {}\n{}.\n\n{}", command.name, command.usage, capital(command.brief), command.long)
}

/// How it is written, for whoever wrote it otherwise.
#[must_use]
pub fn usage(command: &Command) -> String {
    format!("Write: {} {}\n`help {}` tells more.", command.name, command.usage, command.name)
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_explained_and_fits_on_the_screen() {
        for command in &COMMANDS {
            assert!(std::ptr::eq(find(&command.name.to_uppercase()).unwrap(), command));
            assert_eq!(COMMANDS.iter().filter(|other| other.verb == command.verb).count(), 1);
            let text = explain(command);
            assert!(text.contains(&format!("Example: {}", command.name)), "{text}");
            assert!(text.lines().chain(overview(true).lines()).all(|line| line.chars().count() < 80), "{text}");
            assert!(text.is_ascii() || text.contains('…'));
        }
        assert!(ALIASES.iter().all(|(alias, _)| find(alias).is_some()));
    }

    #[test]
    fn anyone_sees_help_status_and_the_light_and_nothing_else() {
        let open: Vec<&str> = COMMANDS.iter().filter(|c| c.who == Who::Anyone).map(|c| c.name).collect();
        assert_eq!(open, ["help", "status", "led", "lock", "exit"]);
    }

    #[test]
    fn typing_errors_are_guessed() {
        for (typed, meant) in [
            ("stauts", Some("status")),
            ("stat", Some("status")),
            ("netwrok", Some("network")),
            ("factory", Some("factory-reset")),
            ("rebot", Some("reboot")),
            ("ls", None),
            ("rm", None),
            ("bash", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed), meant, "{typed}");
        }
    }

    #[test]
    fn the_tabulator_completes_commands_and_their_words() {
        let completed = |before| {
            let found = complete(before);
            (found.insert, found.choices.len())
        };
        assert_eq!(completed("sta"), ("tus ".to_owned(), 1));
        assert_eq!(completed("re"), (String::new(), 2));
        assert_eq!(completed("help fac"), ("tory-reset ".to_owned(), 1));
        assert_eq!(completed("proxy s"), ("et ".to_owned(), 1));
        assert_eq!(completed("tunnel o"), (String::new(), 2));
        assert_eq!(completed("nothing "), (String::new(), 0));
        assert_eq!(completed(""), (String::new(), COMMANDS.len()));
        assert_eq!(completed("zzü"), (String::new(), 0));
    }
}
