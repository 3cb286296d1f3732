//! The enumerations of the MIBs as words. A number that is not listed is shown as itself.

pub(super) fn word(list: &[(i64, &str)], number: i64) -> String {
    list.iter().find(|(n, _)| *n == number).map_or_else(|| number.to_string(), |(_, word)| (*word).to_owned())
}

/// hrPrinterStatus (RFC 2790).
pub(super) fn printer_status(number: i64) -> String {
    word(&[(1, "other"), (2, "unknown"), (3, "idle"), (4, "printing"), (5, "warmup")], number)
}

/// hrDeviceStatus (RFC 2790).
pub(super) fn device_status(number: i64) -> String {
    word(&[(1, "unknown"), (2, "running"), (3, "warning"), (4, "testing"), (5, "down")], number)
}

/// hrPrinterDetectedErrorState (RFC 2790): bit 0 is the highest of the first byte.
pub(super) fn detected_errors(bits: &[u8]) -> Vec<String> {
    const NAMES: [&str; 15] = [
        "low_paper",
        "no_paper",
        "low_toner",
        "no_toner",
        "door_open",
        "jammed",
        "offline",
        "service_requested",
        "input_tray_missing",
        "output_tray_missing",
        "marker_supply_missing",
        "output_near_full",
        "output_full",
        "input_tray_empty",
        "overdue_prevent_maint",
    ];
    let is_set = |n: usize| bits.get(n / 8).is_some_and(|byte| byte & (0x80 >> (n % 8)) != 0);
    NAMES.iter().enumerate().filter(|(n, _)| is_set(*n)).map(|(_, name)| (*name).to_owned()).collect()
}

/// prtMarkerCounterUnit and prtMarkerSuppliesSupplyUnit (RFC 3805), in which the same numbers mean the same.
pub(super) fn unit(number: i64) -> String {
    const UNITS: [(i64, &str); 18] = [
        (1, "other"),
        (2, "unknown"),
        (3, "ten_thousandths_of_inches"),
        (4, "micrometers"),
        (7, "impressions"),
        (8, "sheets"),
        (9, "dot_row"),
        (11, "hours"),
        (12, "thousandths_of_ounces"),
        (13, "tenths_of_grams"),
        (14, "hundredths_of_fluid_ounces"),
        (15, "tenths_of_milliliters"),
        (16, "feet"),
        (17, "meters"),
        (18, "items"),
        (19, "percent"),
        (5, "characters"),
        (6, "lines"),
    ];
    word(&UNITS, number)
}

/// prtMarkerSuppliesType (RFC 3805).
pub(super) fn supply_type(number: i64) -> String {
    const TYPES: [(i64, &str); 34] = [
        (1, "other"),
        (2, "unknown"),
        (3, "toner"),
        (4, "wasteToner"),
        (5, "ink"),
        (6, "inkCartridge"),
        (7, "inkRibbon"),
        (8, "wasteInk"),
        (9, "opc"),
        (10, "developer"),
        (11, "fuserOil"),
        (12, "solidWax"),
        (13, "ribbonWax"),
        (14, "wasteWax"),
        (15, "fuser"),
        (16, "coronaWire"),
        (17, "fuserOilWick"),
        (18, "cleanerUnit"),
        (19, "fuserCleaningPad"),
        (20, "transferUnit"),
        (21, "tonerCartridge"),
        (22, "fuserOiler"),
        (23, "water"),
        (24, "wasteWater"),
        (25, "glueWaterAdditive"),
        (26, "wastePaper"),
        (27, "bindingSupply"),
        (28, "bandingSupply"),
        (29, "stitchingWire"),
        (30, "shrinkWrap"),
        (31, "paperWrap"),
        (32, "staples"),
        (33, "inserts"),
        (34, "covers"),
    ];
    word(&TYPES, number)
}

/// prtMarkerSuppliesClass (RFC 3805).
pub(super) fn supply_class(number: i64) -> String {
    word(&[(1, "other"), (3, "consumed"), (4, "filled")], number)
}

/// prtMediaPathMaxSpeedPrintUnit (RFC 3805): those that count pages.
pub(super) fn counts_pages_an_hour(number: i64) -> bool {
    const IMPRESSIONS_PER_HOUR: i64 = 7;
    const SHEETS_PER_HOUR: i64 = 8;
    matches!(number, IMPRESSIONS_PER_HOUR | SHEETS_PER_HOUR)
}

/// prtCoverStatus (RFC 3805).
pub(super) fn cover_status(number: i64) -> String {
    const STATES: [(i64, &str); 6] =
        [(1, "other"), (2, "unknown"), (3, "open"), (4, "closed"), (5, "interlock_open"), (6, "interlock_closed")];
    word(&STATES, number)
}

/// PrtSubUnitStatusTC (RFC 3805): what it can do (a number from 0 to 6), and what is the matter with it (sums of 8, 16,
/// 32, 64). A negative number says nothing.
pub(super) fn subunit_status(number: i64) -> Vec<String> {
    const AVAILABILITY: [(i64, &str); 7] = [
        (0, "idle"),
        (1, "unavailable"),
        (2, "standby"),
        (3, "unavailable_on_request"),
        (4, "active"),
        (5, "unknown"),
        (6, "busy"),
    ];
    const MATTERS: [(i64, &str); 4] =
        [(8, "non_critical_alert"), (16, "critical_alert"), (32, "offline"), (64, "moving")];
    if number < 0 {
        return Vec::new();
    }
    let matters = MATTERS.iter().filter(|(bit, _)| number & bit != 0).map(|(_, word)| (*word).to_owned());
    [word(&AVAILABILITY, number & 7)].into_iter().chain(matters).collect()
}

/// prtInputType (RFC 3805).
pub(super) fn input_type(number: i64) -> String {
    const TYPES: [(i64, &str); 7] = [
        (1, "other"),
        (2, "unknown"),
        (3, "removable_tray"),
        (4, "fixed_tray"),
        (5, "feeder"),
        (6, "manual_feed"),
        (7, "roll"),
    ];
    word(&TYPES, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bit_is_the_highest() {
        assert_eq!(detected_errors(&[0x80]), ["low_paper"]);
        assert_eq!(detected_errors(&[0x0c, 0x04]), ["door_open", "jammed", "input_tray_empty"]);
        assert!(detected_errors(&[0x00, 0x00]).is_empty() && detected_errors(&[]).is_empty());
    }

    #[test]
    fn a_subunit_says_what_it_can_do_and_what_is_the_matter() {
        assert_eq!(subunit_status(0), ["idle"]);
        assert_eq!(subunit_status(17), ["unavailable", "critical_alert"]);
        assert!(subunit_status(-2).is_empty());
    }

    #[test]
    fn an_unlisted_number_is_shown_as_itself() {
        assert_eq!(unit(7), "impressions");
        assert_eq!(unit(99), "99");
    }
}
