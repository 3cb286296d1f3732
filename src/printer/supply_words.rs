//! What the words of a supply's description say, in the languages that printers speak: its colour, and where no object says
//! so, what it is. Also what is written into a description: part and serial numbers.

use super::profile::SupplyRules;

/// Words for colours: a whole word, or two, of the description; the longest that is there wins.
const COLOURS: &[(&str, &[&str])] = &[
    (
        "black",
        &[
            "black",
            "blk",
            "schwarz",
            "noir",
            "noire",
            "negro",
            "negra",
            "nero",
            "preto",
            "preta",
            "zwart",
            "svart",
            "sort",
            "musta",
            "czarny",
            "černá",
            "černý",
            "fekete",
            "чёрный",
            "черный",
            "siyah",
            "must",
            "melns",
            "juodas",
            "μαύρο",
            "أسود",
            "שחור",
            "mustan",
            "negru",
        ],
    ),
    (
        "cyan",
        &[
            "cyan",
            "cian",
            "ciano",
            "cyaan",
            "syaani",
            "cyjan",
            "błękitny",
            "azurová",
            "azurový",
            "cián",
            "голубой",
            "camgöbeği",
            "κυανό",
            "turkos",
        ],
    ),
    ("magenta", &["magenta", "macenta", "purpurowy", "purpurová", "purpurový", "bíbor", "пурпурный", "ματζέντα"]),
    (
        "yellow",
        &[
            "yellow",
            "gelb",
            "jaune",
            "amarillo",
            "amarilla",
            "giallo",
            "amarelo",
            "amarela",
            "geel",
            "gul",
            "keltainen",
            "żółty",
            "žlutá",
            "žlutý",
            "sárga",
            "желтый",
            "жёлтый",
            "sarı",
            "κίτρινο",
            "galben",
        ],
    ),
    ("light cyan", &["light cyan", "hellcyan", "cyan clair", "cian claro", "ciano chiaro"]),
    ("light magenta", &["light magenta", "hellmagenta", "magenta clair", "magenta claro", "magenta chiaro"]),
    ("photo black", &["photo black", "fotoschwarz", "noir photo", "negro foto", "nero foto"]),
    ("matte black", &["matte black", "matt black", "mattschwarz", "noir mat", "negro mate", "nero opaco"]),
    ("light black", &["light black"]),
    ("gray", &["gray", "grey", "grau", "gris", "grigio", "cinza"]),
    ("light gray", &["light gray", "light grey", "hellgrau"]),
    ("red", &["red", "rot", "rouge", "rojo", "rosso"]),
    ("green", &["green", "grün", "vert", "verde"]),
    ("blue", &["blue", "blau", "bleu", "azul", "blu"]),
    ("orange", &["orange"]),
    ("violet", &["violet", "violett"]),
    ("white", &["white", "weiß", "blanc", "blanco", "bianco"]),
    ("clear", &["clear", "transparent"]),
    ("tri-colour", &["tri color", "tri colour", "tricolor", "dreifarbig"]),
];

/// Words of languages that write no spaces: anywhere in the description.
const COLOURS_ANYWHERE: &[(&str, &[&str])] = &[
    ("black", &["ブラック", "黒", "黑", "블랙", "검정"]),
    ("cyan", &["シアン", "青", "시안", "청록"]),
    ("magenta", &["マゼンタ", "品红", "品紅", "洋红", "洋紅", "마젠타", "자홍"]),
    ("yellow", &["イエロー", "黄", "黃", "옐로", "노랑"]),
];

/// Parts of words that say what a supply is; the first that is there wins, so what is narrower comes first. The first column
/// is prtMarkerSuppliesType (RFC 3805) in words.
const KINDS: &[(&str, &[&str])] = &[
    (
        "wasteInk",
        &[
            "waste ink",
            "maintenance box",
            "maintenance cartridge",
            "resttinte",
            "ink waste",
            "encre usag",
            "wartungsbox",
        ],
    ),
    (
        "wasteToner",
        &[
            "waste",
            "resttoner",
            "toner usag",
            "récupération",
            "collection",
            "residual",
            "residuo",
            "recupero",
            "resíduos",
            "afvaltoner",
            "overskuds",
            "zużyt",
            "отработан",
            "廃トナー",
            "废粉",
            "used toner",
        ],
    ),
    ("developer", &["developer", "entwickler", "développ", "revelador", "sviluppatore", "現像"]),
    (
        "opc",
        &[
            "drum",
            "imaging unit",
            "image unit",
            "photoconductor",
            "trommel",
            "tambour",
            "tamburo",
            "tambor",
            "cilindro",
            "bildeinheit",
            "opc",
            "ドラム",
            "硒鼓",
        ],
    ),
    ("fuserCleaningPad", &["fuser cleaning", "fuser web", "fusing web"]),
    ("fuser", &["fuser", "fusing", "fixier", "fusor", "fusore", "fuseur", "定着", "定影"]),
    ("transferUnit", &["transfer", "belt unit", "transfert", "trasferimento", "transferencia", "転写"]),
    ("staples", &["staple", "heftklammer", "agrafe", "grapas", "punti metallici", "針"]),
    ("inkRibbon", &["ribbon", "farbband"]),
    ("cleanerUnit", &["cleaning unit", "cleaner", "reinigung"]),
    ("toner", &["toner", "トナー", "碳粉", "墨粉", "토너", "тонер"]),
    ("inkCartridge", &["ink cartridge", "tintenpatrone", "cartouche d'encre"]),
    ("ink", &["ink", "tinte", "encre", "tinta", "inchiostro", "インク"]),
];

/// The words of a text, in lower case.
fn words_of(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The colour that a description or a colorant's name says.
pub(super) fn colour_in(text: &str) -> Option<String> {
    let words = words_of(text);
    let is_there = |wanted: &str| {
        let wanted: Vec<&str> = wanted.split(' ').collect();
        words.windows(wanted.len()).any(|window| window.iter().zip(&wanted).all(|(one, other)| one == other))
    };
    let by_word = COLOURS.iter().flat_map(|(colour, all)| all.iter().map(move |word| (*colour, *word)));
    let found = by_word.filter(|(_, word)| is_there(word)).max_by_key(|(_, word)| word.chars().count());
    let anywhere = || COLOURS_ANYWHERE.iter().find(|(_, all)| all.iter().any(|word| text.contains(word)));
    let found = found.map(|(colour, _)| colour).or_else(|| anywhere().map(|(colour, _)| *colour));
    found.or_else(|| colour_of_letter(text)).map(str::to_owned)
}

/// C, M, Y or K as makers write it where they write no word: "Toner (K)", "TK-8335C", "TN-423BK", "CLT-Y504S".
fn colour_of_letter(text: &str) -> Option<&'static str> {
    let of = |letter: &str| match letter {
        "K" | "BK" => Some("black"),
        "C" => Some("cyan"),
        "M" => Some("magenta"),
        "Y" => Some("yellow"),
        _ => None,
    };
    let in_brackets =
        || text.rsplit_once('(').and_then(|(_, rest)| rest.split_once(')')).and_then(|(inside, _)| of(inside.trim()));
    let in_a_part_number = || {
        text.split_whitespace().find_map(|token| {
            let token = token.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            if let Some(rest) = token.strip_prefix("CLT-") {
                return of(rest.get(..1)?);
            }
            let series = token.find(|c: char| c.is_ascii_digit()).filter(|at| (2..=5).contains(at))?;
            let (letters, rest) = token.split_at_checked(series)?;
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let is_series = letters.chars().all(|c| c.is_ascii_uppercase() || c == '-') && (2..=5).contains(&digits);
            is_series.then(|| of(rest.get(digits..)?)).flatten()
        })
    };
    in_brackets().or_else(in_a_part_number)
}

/// What a description says that a supply is: prtMarkerSuppliesType in words.
pub(super) fn kind_in(description: &str) -> Option<&'static str> {
    let text = description.to_lowercase();
    KINDS.iter().find(|(_, all)| all.iter().any(|word| text.contains(word))).map(|(kind, _)| *kind)
}

/// What follows `mark`, up to a separator, where it looks like a number of a part.
fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let rest = text.get(text.find(mark)? + mark.len()..)?.trim_start();
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(rest.len());
    rest.get(..end).filter(|found| found.len() >= 4 && found.bytes().any(|b| b.is_ascii_digit()))
}

/// The part number in a description: by the profile, else as several makers write it.
pub(super) fn part_number_in(description: &str, rules: Option<&SupplyRules>) -> Option<String> {
    let patterns = rules.map(|rules| rules.part_number_in.as_slice()).unwrap_or_default();
    let by_profile = patterns.iter().find_map(|pattern| pattern.part_of(description));
    // Xerox: "Black Toner, PN 006R01509;SN…"; HP: "Black Cartridge HP CF410A".
    let found = by_profile
        .or_else(|| ["PN ", "PN:", "P/N:", "P/N "].iter().find_map(|mark| after(description, mark)))
        .or_else(|| after(description, " HP ").filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase())));
    found.map(|found| found.trim().to_owned()).filter(|found| !found.is_empty())
}

/// The serial number in a description: by the profile, else as several makers write it.
pub(super) fn serial_in(description: &str, rules: Option<&SupplyRules>) -> Option<String> {
    let patterns = rules.map(|rules| rules.serial_in.as_slice()).unwrap_or_default();
    let by_profile = patterns.iter().find_map(|pattern| pattern.part_of(description));
    // Xerox: ";SN48178080"; Samsung: "S/N:CRUM-1234".
    let found = by_profile.or_else(|| ["S/N:", "S/N ", ";SN", "SN:"].iter().find_map(|mark| after(description, mark)));
    found.map(|found| found.trim().to_owned()).filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_descriptions() {
        let xerox = "Black Toner, PN 006R01509;SN48178080123";
        assert_eq!(part_number_in(xerox, None).as_deref(), Some("006R01509"));
        assert_eq!(serial_in(xerox, None).as_deref(), Some("48178080123"));
        assert_eq!(part_number_in("Black Cartridge HP CF410A", None).as_deref(), Some("CF410A"));
        assert_eq!(serial_in("Black Toner S/N:CRUM-18012345678", None).as_deref(), Some("CRUM-18012345678"));
        for none in ["Black Toner Cartridge S/N:CRUM-", "Fuser S/N:"] {
            assert_eq!(serial_in(none, None), None);
        }
        assert_eq!(part_number_in("Waste Toner Box", None), None);
    }

    #[test]
    fn a_profile_knows_how_its_maker_writes_numbers() {
        use super::super::profile::Pattern;
        let rules = SupplyRules {
            part_number_in: vec![Pattern::of(r"\[([A-Z0-9-]+)\]")],
            serial_in: vec![Pattern::of(r"#(\d+)")],
            ..SupplyRules::default()
        };
        assert_eq!(part_number_in("Toner [TK-1] #778899", Some(&rules)).as_deref(), Some("TK-1"));
        assert_eq!(serial_in("Toner [TK-1] #778899", Some(&rules)).as_deref(), Some("778899"));
    }

    #[test]
    fn colours_are_known_in_many_languages() {
        for (text, colour) in [
            ("Cartouche de toner jaune", "yellow"),
            ("Toner (Black)", "black"),
            ("Photo Black Ink", "photo black"),
            ("Schwarzer Toner / SCHWARZ", "black"),
            ("Tonercassette geel", "yellow"),
            ("Cartucho de tóner cian", "cyan"),
            ("тонер-картридж пурпурный", "magenta"),
            ("ブラックトナー", "black"),
            ("黄色碳粉盒", "yellow"),
            ("Toner (K)", "black"),
            ("TK-8335C", "cyan"),
            ("TN-423BK", "black"),
            ("CLT-Y504S", "yellow"),
            ("Magenta Drum Cartridge", "magenta"),
        ] {
            assert_eq!(colour_in(text).as_deref(), Some(colour), "{text}");
        }
        for none in ["Fuser", "Sorter unit", "Regulator", "PK-3010S", "Waste Toner Box", "Maintenance Kit 115V"] {
            assert_eq!(colour_in(none), None, "{none}");
        }
    }

    #[test]
    fn what_no_object_says_the_description_may() {
        for (text, kind) in [
            ("Resttonerbehälter", "wasteToner"),
            ("Bac de récupération de toner", "wasteToner"),
            ("Trommel Cyan", "opc"),
            ("Unité de fusion / Fuseur", "fuser"),
            ("Toner noir", "toner"),
            ("Maintenance Box", "wasteInk"),
            ("Tintenpatrone Gelb", "inkCartridge"),
        ] {
            assert_eq!(kind_in(text), Some(kind), "{text}");
        }
        assert_eq!(kind_in("Roller Kit"), None);
    }
}
