//! What is read from whom, as a table for people: generated from the profiles, so that it cannot say more than they do.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Profile, Profiles};

impl Profiles {
    /// A Markdown table: a row for each profile.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| maker, and brands of the same devices | model, serial number, firmware, name | meters besides prtMarkerLifeCount | supplies |\n|---|---|---|---|\n",
        );
        let mut rows: Vec<&Profile> = self.list.iter().map(AsRef::as_ref).collect();
        rows.sort_by_key(|profile| profile.vendor.to_lowercase());
        for profile in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}", row(profile));
        }
        out
    }
}

fn row(profile: &Profile) -> String {
    let brands: BTreeSet<&str> =
        profile.brands.iter().map(|brand| brand.vendor.as_str()).filter(|brand| *brand != profile.vendor).collect();
    let mut names = format!("**{}**", profile.vendor);
    if !brands.is_empty() {
        let _ = write!(names, " ({})", brands.into_iter().collect::<Vec<_>>().join(", "));
    }
    let places = [
        ("model", profile.model.len()),
        ("serial", profile.serial.len()),
        ("firmware", profile.firmware.len()),
        ("name", profile.name.len()),
    ];
    let places: Vec<String> =
        places.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what} ({count})")).collect();
    let direct = profile.meters.iter().map(|meter| meter.key);
    let in_tables = profile.meter_tables.iter().flat_map(|table| table.rows.iter().map(|row| row.key));
    let meters: BTreeSet<_> = direct.chain(in_tables).collect();
    let meters: Vec<String> = meters.iter().map(|key| format!("`{key}`")).collect();
    let rules = &profile.supplies;
    let supplies = [
        ("part number", rules.part_number.is_some() || !rules.part_number_in.is_empty()),
        ("serial number", rules.serial.is_some() || !rules.serial_in.is_empty()),
        ("level", !profile.supply_levels.is_empty()),
    ];
    let supplies: Vec<&str> = supplies.iter().filter(|(_, is)| *is).map(|(what, _)| *what).collect();
    let or_dash = |text: String| if text.is_empty() { "–".to_owned() } else { text };
    format!(
        "| {names} | {} | {} | {} |",
        or_dash(places.join(", ")),
        or_dash(meters.join(" ")),
        or_dash(supplies.join(", "))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str =
        "<!-- generated from src/printer/profiles: PLATEN_WRITE_TABLE=1 cargo test --lib the_table_in_the_readme -->\n";
    const END: &str = "<!-- end of what is generated -->";

    #[test]
    fn the_table_in_the_readme_is_that_of_the_profiles() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let (head, rest) = readme.split_once(BEGIN).expect("README.md has no place for the table");
        let (found, tail) = rest.split_once(END).expect("README.md has no end of the table");
        let table = Profiles::built_in().table();
        if std::env::var_os("PLATEN_WRITE_TABLE").is_some() {
            std::fs::write(path, format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
            return;
        }
        assert_eq!(found, table, "README.md is behind: PLATEN_WRITE_TABLE=1 cargo test --lib the_table_in_the_readme");
    }
}
