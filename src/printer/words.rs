//! The enumerations of the MIBs as words. A number that is not listed is shown as itself.

fn word(list: &[(i64, &str)], number: i64) -> String {
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
    const UNITS: [(i64, &str); 17] = [
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

/// prtAlertSeverityLevel (RFC 3805).
pub(super) fn alert_severity(number: i64) -> String {
    word(&[(1, "other"), (3, "critical"), (4, "warning"), (5, "warning_binary_change_event")], number)
}

/// prtAlertTrainingLevel (RFC 3805).
pub(super) fn alert_training(number: i64) -> String {
    const LEVELS: [(i64, &str); 7] = [
        (1, "other"),
        (2, "unknown"),
        (3, "untrained"),
        (4, "trained"),
        (5, "field_service"),
        (6, "management"),
        (7, "no_intervention_required"),
    ];
    word(&LEVELS, number)
}

/// prtAlertGroup (RFC 3805, PrtAlertGroupTC).
pub(super) fn alert_group(number: i64) -> String {
    const GROUPS: [(i64, &str); 16] = [
        (1, "other"),
        (3, "host_resources_storage"),
        (4, "host_resources_device"),
        (5, "general_printer"),
        (6, "cover"),
        (7, "localization"),
        (8, "input"),
        (9, "output"),
        (10, "marker"),
        (11, "marker_supplies"),
        (12, "marker_colorant"),
        (13, "media_path"),
        (14, "channel"),
        (15, "interpreter"),
        (16, "console_display_buffer"),
        (17, "console_lights"),
    ];
    word(&GROUPS, number)
}

/// prtAlertCode (RFC 3805, PrtAlertCodeTC): those that printers send most.
pub(super) fn alert_code(number: i64) -> String {
    const CODES: [(i64, &str); 41] = [
        (1, "other"),
        (2, "unknown"),
        (3, "cover_open"),
        (4, "cover_closed"),
        (5, "interlock_open"),
        (6, "interlock_closed"),
        (7, "configuration_change"),
        (8, "jam"),
        (9, "subunit_missing"),
        (10, "subunit_life_almost_over"),
        (11, "subunit_life_over"),
        (12, "subunit_almost_empty"),
        (13, "subunit_empty"),
        (14, "subunit_almost_full"),
        (15, "subunit_full"),
        (16, "subunit_near_limit"),
        (17, "subunit_at_limit"),
        (18, "subunit_opened"),
        (19, "subunit_closed"),
        (20, "subunit_turned_on"),
        (21, "subunit_turned_off"),
        (22, "subunit_offline"),
        (23, "subunit_power_saver"),
        (24, "subunit_warming_up"),
        (29, "subunit_recoverable_failure"),
        (30, "subunit_unrecoverable_failure"),
        (501, "door_open"),
        (502, "door_closed"),
        (503, "power_up"),
        (504, "power_down"),
        (808, "input_media_supply_low"),
        (809, "input_media_supply_empty"),
        (903, "output_media_tray_almost_full"),
        (1104, "marker_toner_almost_empty"),
        (1101, "marker_toner_empty"),
        (1102, "marker_ink_empty"),
        (1105, "marker_ink_almost_empty"),
        (1107, "marker_waste_toner_receptacle_almost_full"),
        (1109, "marker_waste_toner_receptacle_full"),
        (1106, "marker_print_ribbon_almost_empty"),
        (1110, "marker_waste_ink_receptacle_full"),
    ];
    word(&CODES, number)
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
    fn an_unlisted_number_is_shown_as_itself() {
        assert_eq!(unit(7), "impressions");
        assert_eq!(unit(99), "99");
    }
}
