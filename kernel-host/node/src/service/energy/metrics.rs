//! The books for Prometheus: joules and watts, a few series for each account.
//!
//! Does:      writes the text format from what the API tells.
//! Does not:  keep series of what is gone: a VM's two end with it.
//! Bounds:    two series for each account, four for each meter, six for the node.
//! Trusts:    nobody: names are escaped.
//! Start at:  `metrics`.

use protocol::{EnergyAccount, EnergySource, NodeEnergy};
use std::fmt::Write;

/// The text of `GET /metrics`.
pub(crate) fn metrics(energy: &NodeEnergy) -> String {
    let mut out = String::new();
    let (node, class) = (escaped(&energy.name), escaped(&energy.class));
    let host = format!("node=\"{node}\",class=\"{class}\"");
    let alarm = u8::from(energy.alarm).to_string();
    #[rustfmt::skip] // keeps the columns
    let of_host = [
        ("luc_host_power_watts", "gauge", "What the machine draws", micro(energy.power_uw.0)),
        ("luc_host_power_bar_watts", "gauge", "Nine of ten truths are this near", micro(energy.bar_uw.0)),
        ("luc_host_idle_watts", "gauge", "What it draws without load", micro(energy.idle_uw.0)),
        ("luc_host_energy_joules_total", "counter", "What it drew", micro(energy.energy_uj.0)),
        ("luc_meters_disagree", "gauge", "1: two meters differ", alarm),
    ];
    for (name, kind, help, value) in of_host {
        family(
            &mut out,
            [name, kind, help],
            [(host.clone(), value)].into_iter(),
        );
    }
    let accounts = || {
        energy
            .accounts
            .iter()
            .map(|account| (of_account(account), account))
    };
    let about = ["luc_power_watts", "gauge", "Power charged to an account"];
    let powers = accounts().map(|(labels, account)| (labels, micro(account.power_uw.0)));
    family(&mut out, about, powers);
    let about = [
        "luc_energy_joules_total",
        "counter",
        "Energy charged to an account",
    ];
    let energies = accounts().map(|(labels, account)| (labels, micro(account.energy().0)));
    family(&mut out, about, energies);
    let meters = || {
        let sources = energy.sources.iter();
        sources.map(|source| (format!("meter=\"{}\"", escaped(&source.name)), source))
    };
    let about = ["luc_meter_up", "gauge", "1: the meter is believed"];
    let up = |source: &EnergySource| u8::from(source.state == "good").to_string();
    family(
        &mut out,
        about,
        meters().map(|(labels, source)| (labels, up(source))),
    );
    let about = ["luc_meter_faults_total", "counter", "Rounds that failed"];
    let faults = meters().map(|(labels, source)| (labels, source.faults.to_string()));
    family(&mut out, about, faults);
    out
}

fn of_account(account: &EnergyAccount) -> String {
    let name = escaped(&account.name);
    format!("kind=\"{}\",name=\"{name}\"", account.kind)
}

/// Name, kind and help, then a line for each series.
fn family(
    out: &mut String,
    [name, kind, help]: [&str; 3],
    series: impl Iterator<Item = (String, String)>,
) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in series {
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    }
}

/// Millionths as a decimal number, exactly.
fn micro(value: u64) -> String {
    format!("{}.{:06}", value / 1_000_000, value % 1_000_000)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{EnergyKind, Microjoules, Microwatts};

    /// A VM has two series, whatever it does, and none once it is gone.
    #[test]
    fn series_grow_with_accounts_and_end_with_them() {
        let series = |accounts: usize| {
            let account = |number: usize| EnergyAccount {
                kind: EnergyKind::Vm,
                name: format!("vm{number}"),
                vm: None,
                power_uw: Microwatts(5),
                active_uj: Microjoules(1_500_000),
                idle_uj: Microjoules(2),
                bar_uj: Microjoules(0),
            };
            let energy = NodeEnergy {
                accounts: (0..accounts).map(account).collect(),
                ..super::super::told::unopened()
            };
            let text = metrics(&energy);
            assert_eq!(
                accounts > 0,
                text.contains("name=\"vm0\"} 1.500002\n"),
                "{text}"
            );
            text.lines().filter(|line| !line.starts_with('#')).count()
        };
        assert_eq!([series(0), series(1), series(500)], [5, 7, 1005]);
    }

    #[test]
    fn amounts_are_exact_and_names_can_not_break_out() {
        assert_eq!(micro(1_000_000_000_007), "1000000.000007");
        assert_eq!(micro(0), "0.000000");
        assert_eq!(escaped("a\"b\\\n"), "a\\\"b\\\\ ");
    }
}
