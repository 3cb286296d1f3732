//! prtAlertTable (RFC 3805 §6): what a printer complains of, in words.

use super::ask::Ask;
use super::reading::Alert;
use super::words::word;
use crate::oid;
use crate::snmp::{ObjectSource, SnmpError};

/// Most alerts that are kept of one reading.
pub(super) const ALERTS_MAX: usize = 100;

// Columns of prtAlertEntry.
const SEVERITY: u32 = 2;
const TRAINING: u32 = 3;
const GROUP: u32 = 4;
const GROUP_INDEX: u32 = 5;
const LOCATION: u32 = 6;
const CODE: u32 = 7;
const DESCRIPTION: u32 = 8;
const TIME: u32 = 9;

/// prtAlertTrainingLevel of somebody who comes from outside.
const FIELD_SERVICE: i64 = 5;
/// prtAlertCodes that somebody must come for: what is worn out, broken, or fails.
const SERVICE_CODES: [i64; 12] = [11, 30, 32, 33, 37, 38, 811, 812, 1003, 1004, 1112, 1114];

/// Reads the table; with it, what the alerts are measured against: sysUpTime.
pub(super) async fn read<S: ObjectSource>(
    ask: &mut Ask<'_, S>,
    uptime_centiseconds: Option<u64>,
) -> Result<Vec<Alert>, SnmpError> {
    let columns = [SEVERITY, TRAINING, GROUP, GROUP_INDEX, LOCATION, CODE, DESCRIPTION, TIME];
    let table = ask.table_anew(&oid!(1, 3, 6, 1, 2, 1, 43, 18, 1, 1), &columns).await?;
    let row = |(index, row): (&Vec<u32>, &super::tables::Row)| {
        let word = |column, words: fn(i64) -> String| row.number(column).map_or("unknown".to_owned(), words);
        let time = row.number(TIME).and_then(|n| u64::try_from(n).ok());
        let (training, code) = (row.number(TRAINING), row.number(CODE));
        Alert {
            index: index.last().copied().unwrap_or_default(),
            severity: word(SEVERITY, alert_severity),
            training: training.map(alert_training),
            group: word(GROUP, alert_group),
            group_index: row.number(GROUP_INDEX).filter(|n| *n >= 0),
            code: word(CODE, alert_code),
            code_number: code,
            description: row.text(DESCRIPTION),
            location: row.number(LOCATION).filter(|n| *n >= 0),
            time_centiseconds: time,
            // Some agents give another clock's time; what would lie in the future is not that of this device's start.
            since_s: uptime_centiseconds.zip(time).and_then(|(now, then)| now.checked_sub(then)).map(|cs| cs / 100),
            service_required: training == Some(FIELD_SERVICE) || code.is_some_and(|code| SERVICE_CODES.contains(&code)),
        }
    };
    // A row without a severity is an index that some agents keep after the alert has gone.
    let rows = table.rows.iter().filter(|(_, row)| row.number(SEVERITY).is_some());
    Ok(rows.take(ALERTS_MAX).map(row).collect())
}

/// prtAlertSeverityLevel (RFC 3805).
fn alert_severity(number: i64) -> String {
    word(&[(1, "other"), (3, "critical"), (4, "warning"), (5, "warning_binary_change_event")], number)
}

/// prtAlertTrainingLevel (RFC 3805).
fn alert_training(number: i64) -> String {
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
fn alert_group(number: i64) -> String {
    const GROUPS: [(i64, &str); 21] = [
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
        (18, "alert"),
        (30, "finisher"),
        (31, "finisher_supply"),
        (32, "finisher_supply_media_input"),
        (33, "finisher_attribute"),
    ];
    word(&GROUPS, number)
}

/// prtAlertCode (IANA-PRINTER-MIB, PrtAlertCodeTC).
fn alert_code(number: i64) -> String {
    const CODES: [(i64, &str); 95] = [
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
        (25, "subunit_added"),
        (26, "subunit_removed"),
        (27, "subunit_resource_added"),
        (28, "subunit_resource_removed"),
        (29, "subunit_recoverable_failure"),
        (30, "subunit_unrecoverable_failure"),
        (31, "subunit_recoverable_storage_error"),
        (32, "subunit_unrecoverable_storage_error"),
        (33, "subunit_motor_failure"),
        (34, "subunit_memory_exhausted"),
        (35, "subunit_under_temperature"),
        (36, "subunit_over_temperature"),
        (37, "subunit_timing_failure"),
        (38, "subunit_thermistor_failure"),
        (501, "door_open"),
        (502, "door_closed"),
        (503, "power_up"),
        (504, "power_down"),
        (505, "printer_nms_reset"),
        (506, "printer_manual_reset"),
        (507, "printer_ready_to_print"),
        (801, "input_media_tray_missing"),
        (802, "input_media_size_change"),
        (803, "input_media_weight_change"),
        (804, "input_media_type_change"),
        (805, "input_media_color_change"),
        (806, "input_media_form_parts_change"),
        (807, "input_media_supply_low"),
        (808, "input_media_supply_empty"),
        (809, "input_media_change_request"),
        (810, "input_manual_input_request"),
        (811, "input_tray_position_failure"),
        (812, "input_tray_elevation_failure"),
        (813, "input_cannot_feed_size_selected"),
        (901, "output_media_tray_missing"),
        (902, "output_media_tray_almost_full"),
        (903, "output_media_tray_full"),
        (904, "output_mailbox_select_failure"),
        (1001, "marker_fuser_under_temperature"),
        (1002, "marker_fuser_over_temperature"),
        (1003, "marker_fuser_timing_failure"),
        (1004, "marker_fuser_thermistor_failure"),
        (1005, "marker_adjusting_print_quality"),
        (1101, "marker_toner_empty"),
        (1102, "marker_ink_empty"),
        (1103, "marker_print_ribbon_empty"),
        (1104, "marker_toner_almost_empty"),
        (1105, "marker_ink_almost_empty"),
        (1106, "marker_print_ribbon_almost_empty"),
        (1107, "marker_waste_toner_receptacle_almost_full"),
        (1108, "marker_waste_ink_receptacle_almost_full"),
        (1109, "marker_waste_toner_receptacle_full"),
        (1110, "marker_waste_ink_receptacle_full"),
        (1111, "marker_opc_life_almost_over"),
        (1112, "marker_opc_life_over"),
        (1113, "marker_developer_almost_empty"),
        (1114, "marker_developer_empty"),
        (1115, "marker_toner_cartridge_missing"),
        (1301, "media_path_media_tray_missing"),
        (1302, "media_path_media_tray_almost_full"),
        (1303, "media_path_media_tray_full"),
        (1304, "media_path_cannot_duplex_media_selected"),
        (1501, "interpreter_memory_increase"),
        (1502, "interpreter_memory_decrease"),
        (1503, "interpreter_cartridge_added"),
        (1504, "interpreter_cartridge_deleted"),
        (1505, "interpreter_resource_added"),
        (1506, "interpreter_resource_deleted"),
        (1507, "interpreter_resource_unavailable"),
        (1509, "interpreter_complex_page_encountered"),
        (1801, "alert_removal_of_binary_change_entry"),
    ];
    word(&CODES, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_registry() {
        assert_eq!(alert_code(807), "input_media_supply_low");
        assert_eq!(alert_code(808), "input_media_supply_empty");
        assert_eq!(alert_code(903), "output_media_tray_full");
        assert_eq!(alert_code(4711), "4711");
    }
}
