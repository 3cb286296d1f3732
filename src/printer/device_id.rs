//! The IEEE 1284 device id: `MFG:HP;MDL:LaserJet;…`, keys in a long and a short form.

/// The value of a key; `key` is the short form (MFG, MDL, DES, SN, CLS).
pub(super) fn field<'a>(device_id: &'a str, key: &str) -> Option<&'a str> {
    let long: &[&str] = match key {
        "MFG" => &["MANUFACTURER", "MANUFACTURE"],
        "MDL" => &["MODEL"],
        "DES" => &["DESCRIPTION"],
        "SN" => &["SERN", "SERIALNUMBER", "SER"],
        "CLS" => &["CLASS"],
        _ => &[],
    };
    device_id.split(';').find_map(|pair| {
        let (name, value) = pair.split_once(':')?;
        let name = name.trim().to_ascii_uppercase();
        let value = value.trim();
        ((name == key || long.contains(&name.as_str())) && !value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn short_and_long_keys_are_the_same() {
        let short = "MFG:Hewlett-Packard;CMD:PJL;MDL:HP LaserJet;CLS:PRINTER;";
        let long = "MANUFACTURE:OKI UK LTD;COMMAND SET:PCL;MODEL:MC873;CLASS:PRINTER";
        assert_eq!((field(short, "MFG"), field(short, "MDL")), (Some("Hewlett-Packard"), Some("HP LaserJet")));
        assert_eq!((field(long, "MDL"), field(long, "CLS")), (Some("MC873"), Some("PRINTER")));
        assert_eq!(field(short, "SN"), None);
    }
}
