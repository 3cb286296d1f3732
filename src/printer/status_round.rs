//! The light look between two readings: status, alerts, the total, and as much of its identity as proves that it is still the
//! same device. One GET, and prtAlertTable.

use super::ask::Ask;
use super::profile::{Appearance, Profiles};
use super::reading::{Alert, Status};
use super::{alerts, words};
use crate::oid;
use crate::snmp::{ObjectSource, Oid, SnmpError, Value};

/// What is known of the device from its last reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusOptions {
    /// hrDeviceIndex of the printer; 1 where it is not known.
    pub device_index: Option<u32>,
    /// The object that its total is read from.
    pub total: Option<Oid>,
}

/// What a light look has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusRound {
    /// sysObjectID.
    pub sys_object_id: Option<String>,
    /// prtGeneralSerialNumber.
    pub serial: Option<String>,
    /// How it is; sysUpTime is in it.
    pub status: Status,
    /// What it complains of.
    pub alerts: Vec<Alert>,
    /// Whether prtAlertTable was read to its end.
    pub alerts_complete: bool,
    /// The total, of the object that was asked for.
    pub total: Option<u64>,
}

/// Looks at a printer that was read before.
///
/// # Errors
/// When the device does not answer, falls silent, or refuses.
pub async fn read_status<S: ObjectSource>(source: &S, options: &StatusOptions) -> Result<StatusRound, SnmpError> {
    let mib2 = oid!(1, 3, 6, 1, 2, 1);
    let device = options.device_index.unwrap_or(1);
    let at = |arcs: &[u32]| mib2.with(arcs);
    let (object_id, uptime) = (at(&[1, 2, 0]), at(&[1, 3, 0]));
    let (device_status, printer_status) = (at(&[25, 3, 2, 1, 5, device]), at(&[25, 3, 5, 1, 1, device]));
    let (errors, serial) = (at(&[25, 3, 5, 1, 2, device]), at(&[43, 5, 1, 1, 17, device]));
    let standard = [&object_id, &uptime, &device_status, &printer_status, &errors, &serial];
    let wanted: Vec<Oid> = standard.into_iter().chain(&options.total).cloned().collect();
    let mut ask = Ask::new(source, None);
    ask.get(&wanted).await?;
    let appearance =
        Appearance { sys_object_id: ask.value(&object_id).and_then(Value::as_oid), ..Appearance::default() };
    if Profiles::built_in().find(&appearance).is_some_and(|profile| profile.is_careful()) {
        ask.be_careful();
    }
    let uptime_centiseconds = ask.number(&uptime).and_then(|n| u64::try_from(n).ok());
    let listed = alerts::read(&mut ask, uptime_centiseconds).await?;
    let total = options.total.as_ref().and_then(|total| ask.number(total));
    Ok(StatusRound {
        sys_object_id: ask.value(&object_id).and_then(Value::as_oid).map(ToString::to_string),
        serial: ask.text(&serial),
        status: Status {
            printer: ask.number(&printer_status).map(words::printer_status),
            device: ask.number(&device_status).map(words::device_status),
            errors: ask.value(&errors).and_then(Value::as_bytes).map(words::detected_errors).unwrap_or_default(),
            uptime_centiseconds,
        },
        alerts_complete: !ask.incomplete && listed.len() < alerts::ALERTS_MAX,
        alerts: listed,
        total: total.and_then(|n| u64::try_from(n).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::Recording;

    #[tokio::test]
    async fn a_look_sees_status_alerts_and_total() {
        let at = |arcs: &[u32]| oid!(1, 3, 6, 1, 2, 1).with(arcs);
        let total = at(&[43, 10, 2, 1, 4, 1, 1]);
        let words = |text: &str| Value::OctetString(text.as_bytes().to_vec());
        let source = Recording::from_objects(vec![
            (at(&[1, 3, 0]), Value::TimeTicks(500)),
            (at(&[25, 3, 5, 1, 1, 1]), Value::Integer(4)),
            (at(&[25, 3, 5, 1, 2, 1]), Value::OctetString(vec![0x04])),
            (at(&[43, 5, 1, 1, 17, 1]), words("ABC12345")),
            (total.clone(), Value::Counter32(77)),
            (at(&[43, 18, 1, 1, 2, 1, 5]), Value::Integer(3)),
            (at(&[43, 18, 1, 1, 5, 1, 5]), Value::Integer(2)),
            (at(&[43, 18, 1, 1, 8, 1, 5]), words("Paper jam")),
        ]);
        let round = read_status(&source, &StatusOptions { device_index: None, total: Some(total) }).await.unwrap();
        assert_eq!((round.total, round.alerts_complete, round.status.uptime_centiseconds), (Some(77), true, Some(500)));
        assert_eq!(
            (round.serial.as_deref(), round.status.errors.as_slice()),
            (Some("ABC12345"), &["jammed".to_owned()][..])
        );
        assert_eq!((round.alerts[0].severity.as_str(), round.alerts[0].group_index), ("critical", Some(2)));
    }
}
