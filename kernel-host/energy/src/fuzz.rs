//! What must hold for any bytes that a meter, a feed or a file of ours says.
//!
//! Does:      panics on a broken promise; a fuzzer, and the test that replays the corpus, call it.
//! Start at:  any of them.

use crate::ledger::{DaySheet, Ledger};
use crate::meter::bank::{Meter, Step};
use crate::meter::powercap::Powercap;
use crate::meter::{Answer, Files, MS, SECOND, Source, Uptime, Wish};
use crate::meter::{curve, dcmi, http, hwmon, modbus, nut, redfish, snmp, sunspec};
use protocol::Microwatts;

/// A BMC's answer to DCMI.
pub fn fuzz_dcmi(data: &[u8]) {
    if let Ok(said) = dcmi::parse(data) {
        assert!(said.now.0 <= 65_535_000_000 && said.average.0 <= 65_535_000_000);
    }
}

/// A web server's answer, and the document in it.
pub fn fuzz_http(data: &[u8]) {
    let whole = http::parse(data, true);
    if let Ok(Some(early)) = http::parse(data, false) {
        assert_eq!(Ok(Some(early)), whole, "more bytes change a whole answer");
    }
    assert_ne!(whole, Ok(None), "an ended answer is whole or wrong");
    redfish::read_any(data);
}

/// A power strip's answer.
pub fn fuzz_snmp(data: &[u8]) {
    snmp::read_any(data);
}

/// The lines of a UPS server.
pub fn fuzz_nut(data: &[u8]) {
    if let Ok(Some(said)) = nut::parse(data) {
        assert!(said.charge_ppm.is_none_or(|ppm| ppm <= 1_000_000));
    }
}

/// An inverter's registers, and what is read out of them.
pub fn fuzz_modbus(data: &[u8]) {
    for count in [2, 52, 64] {
        if let Ok(Some(registers)) = modbus::parse(data, 1, 1, count) {
            assert_eq!(registers.len(), usize::from(count));
        }
    }
    let points: Vec<u16> = data
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    for id in [101, 103, 111, 113] {
        let _ = sunspec::Inverter::parse(id, &points);
    }
    if let Ok(battery) = sunspec::Battery::parse(&points) {
        let idle = Microwatts::ZERO;
        assert!(battery.charging == idle || battery.discharging == idle);
    }
}

/// A tree of sysfs: lines `path=text`, read twice a second apart by the drivers of such trees.
pub fn fuzz_tree(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut looks = text.split("\n---\n");
    let (first, second) = (looks.next().unwrap_or_default(), looks.next());
    let drivers: [Box<dyn Source + Send>; 2] =
        [Box::new(Powercap::new()), Box::new(hwmon::Hwmon::new())];
    for driver in drivers {
        let mut meter = Meter::new(driver);
        for (at, look) in [(SECOND, Some(first)), (7 * SECOND, second)] {
            let mut files = Files::default();
            for (path, text) in look
                .unwrap_or(first)
                .lines()
                .filter_map(|l| l.split_once('='))
            {
                files.put(path, Ok(text.as_bytes()));
            }
            if let Some(wish) = meter.poll(Uptime(at)) {
                assert!(!matches!(wish, Wish::Load | Wish::Exchange { .. }));
                let step = meter.answered(Uptime(at + MS), Answer::Files(&files));
                assert_eq!(step, Step::Over);
            }
            let most = Microwatts::from_watts(10_000);
            for reading in meter.readings() {
                assert!(reading.value.power().is_none_or(|power| power <= most));
            }
        }
    }
}

/// An operator's curve.
pub fn fuzz_curve(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(curve) = curve::Curve::parse(&text) {
        let powers: Vec<_> = (0..=100)
            .map(|percent| curve.at(percent * 10_000))
            .collect();
        assert!(powers.windows(2).all(|two| two[0] <= two[1]));
    }
}

/// What a disk kept of the ledger, and what somebody says was a node's day.
pub fn fuzz_ledger(data: &[u8]) {
    if let Ok(ledger) = Ledger::restore(data) {
        let sum: u64 = ledger.rows().map(|(_, row)| row.total().0).sum();
        assert_eq!(sum, ledger.host().0);
        let again = Ledger::restore(&ledger.checkpoint());
        let last = ledger.epoch() == u32::MAX;
        assert!(last || again.is_ok_and(|again| again.epoch() == ledger.epoch() + 1));
    }
    if let Ok(sheet) = DaySheet::parse(data) {
        assert_eq!(sheet.bytes_to_sign(), data, "one sheet has one form");
    }
}
