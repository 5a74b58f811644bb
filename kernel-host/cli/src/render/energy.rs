//! What tables show of energy: a bar for each account, and how sure each number is.
//!
//! Does:      names the columns of accounts, nodes and meters; watts, joules and kilowatt-hours
//!            with their bars of error.
//! Does not:  lay out or print: `render` does.
//! Bounds:    a node's accounts at a time; bars of `BAR_CELLS`.
//! Trusts:    the node's answers, which were parsed into types; texts are cleaned when printed.
//! Start at:  `Drawn::of`.

use super::{
    Cell, Column, Resource, Shown, Tone,
    columns::{as_of, dash},
};
use protocol::{EnergyAccount, EnergySource, Microjoules, Microwatts, NodeEnergy};
use serde::Serialize;

/// Width of the bar that stands for all that the node draws.
const BAR_CELLS: u64 = 32;

/// An account, and what part of its node's power it has.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Drawn {
    #[serde(flatten)]
    account: EnergyAccount,
    share_permille: u64,
}

impl Drawn {
    /// The accounts that are wanted, largest power first.
    pub fn of(energy: &NodeEnergy, wanted: impl Fn(&EnergyAccount) -> bool) -> Vec<Self> {
        let whole = u128::from(energy.power_uw.0.max(1));
        let share = |power: Microwatts| u128::from(power.0) * 1000 / whole;
        let accounts = energy.accounts.iter().filter(|account| wanted(account));
        let mut all: Vec<Self> = accounts
            .map(|account| Self {
                account: account.clone(),
                share_permille: u64::try_from(share(account.power_uw)).unwrap_or(1000),
            })
            .collect();
        all.sort_by_key(|drawn| std::cmp::Reverse(drawn.account.power_uw));
        all
    }

    /// `|########        |`: whole cells; a little is shown as a little.
    fn bar(&self) -> Cell {
        let cells = self.share_permille.min(1000) * BAR_CELLS;
        let full = cells / 1000;
        let part = !cells.is_multiple_of(1000) || (full == 0 && self.account.power_uw.0 > 0);
        let filled = usize::try_from(full).unwrap_or(0);
        let rest = usize::try_from(BAR_CELLS - full).unwrap_or(0);
        let (mark, rest) = if part && rest > 0 {
            (".", rest - 1)
        } else {
            ("", rest)
        };
        Cell::plain(format!(
            "|{}{mark}{}|",
            "#".repeat(filled),
            " ".repeat(rest)
        ))
    }
}

/// `12.3 W`, `1.20 kW`, `0.4 mW`.
fn power(power: Microwatts) -> String {
    match power.0 {
        0 => "0 W".to_owned(),
        uw @ 1..=999 => format!("{uw} uW"),
        uw @ 1_000..=999_999 => format!("{}.{} mW", uw / 1000, uw % 1000 / 100),
        uw @ 1_000_000..=999_999_999 => {
            format!("{}.{} W", uw / 1_000_000, uw % 1_000_000 / 100_000)
        }
        uw => format!(
            "{}.{:02} kW",
            uw / 1_000_000_000,
            uw % 1_000_000_000 / 10_000_000
        ),
    }
}

/// `812 J`, `12.3 kJ`, then watt-hours as on a bill.
fn energy(energy: Microjoules) -> String {
    const WH: u64 = 3_600_000_000;
    match energy.0 {
        uj @ 0..=999_999 => format!("{}.{} mJ", uj / 1000, uj % 1000 / 100),
        uj @ 1_000_000..=999_999_999 => {
            format!("{}.{} J", uj / 1_000_000, uj % 1_000_000 / 100_000)
        }
        uj if uj < 10 * WH => format!(
            "{}.{} kJ",
            uj / 1_000_000_000,
            uj % 1_000_000_000 / 100_000_000
        ),
        uj if uj < 1000 * WH => format!("{}.{} Wh", uj / WH, uj % WH * 10 / WH),
        uj => format!("{}.{:02} kWh", uj / WH / 1000, uj / WH % 1000 / 10),
    }
}

impl Resource for Drawn {
    fn name(&self) -> String {
        self.account.name.clone()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Card, Table, Wide};
        const COLUMNS: &[Column<Drawn>] = &[
            Column { key: "account", shown: Table, cell: |one, _| Cell::plain(&one.account.name) },
            Column { key: "power",   shown: Table, cell: |one, _| Cell::plain(power(one.account.power_uw)) },
            Column { key: "share",   shown: Table, cell: |one, _| one.bar() },
            Column { key: "energy",  shown: Table, cell: |one, _| Cell::plain(energy(one.account.energy())) },
            Column { key: "within",  shown: Table, cell: |one, _| Cell::plain(energy(one.account.bar_uj)) },
            Column { key: "kind",    shown: Wide,  cell: |one, _| Cell::plain(one.account.kind) },
            Column { key: "active",  shown: Wide,  cell: |one, _| Cell::plain(energy(one.account.active_uj)) },
            Column { key: "idle",    shown: Wide,  cell: |one, _| Cell::plain(energy(one.account.idle_uj)) },
            Column { key: "id",      shown: Card,  cell: |one, _| dash(one.account.vm) },
        ];
        COLUMNS
    }
}

impl Resource for NodeEnergy {
    fn name(&self) -> String {
        self.name.clone()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Card, Table};
        const COLUMNS: &[Column<NodeEnergy>] = &[
            Column { key: "node",   shown: Table, cell: |node, _| Cell::plain(&node.name) },
            Column { key: "draws",  shown: Table, cell: |node, _| draws(node) },
            Column { key: "by",     shown: Table, cell: |node, _| Cell::plain(&node.reason) },
            Column { key: "meters", shown: Card,  cell: |node, _| disagree(node) },
            Column { key: "idle",   shown: Table, cell: |node, _| Cell::plain(power(node.idle_uw)) },
            Column { key: "load",   shown: Table, cell: |node, _| Cell::plain(format!("{} %", node.load_permille / 10)) },
            Column { key: "energy", shown: Table, cell: |node, _| Cell::plain(energy(node.energy_uj)) },
        ];
        COLUMNS
    }
}

/// `58.2 W, within 28.7 W`.
fn draws(node: &NodeEnergy) -> Cell {
    match node.interval_ms {
        0 => Cell::plain("not known yet: the first seconds are being measured"),
        _ => Cell::plain(format!(
            "{}, within {}",
            power(node.power_uw),
            power(node.bar_uw)
        )),
    }
}

fn disagree(node: &NodeEnergy) -> Cell {
    match node.alarm {
        false => Cell::plain("-"),
        true => Cell {
            text: "differ by more than 15 %: luc energy sources".to_owned(),
            tone: Tone::Bad,
        },
    }
}

fn state(source: &EnergySource) -> Cell {
    let tone = match source.state.as_str() {
        "good" => Tone::Good,
        "new" | "failing" => Tone::Busy,
        _ => Tone::Bad,
    };
    Cell {
        text: source.state.clone(),
        tone,
    }
}

impl Resource for EnergySource {
    fn name(&self) -> String {
        self.name.clone()
    }

    #[rustfmt::skip] // keeps the columns
    fn columns() -> &'static [Column<Self>] {
        use Shown::{Table, Wide};
        const COLUMNS: &[Column<EnergySource>] = &[
            Column { key: "meter",  shown: Table, cell: |one, _| Cell::plain(&one.name) },
            Column { key: "state",  shown: Table, cell: |one, _| state(one) },
            Column { key: "power",  shown: Table, cell: |one, _| dash(one.power_uw.map(power)) },
            Column { key: "heard",  shown: Table, cell: |one, _| one.age_ms.map_or_else(|| Cell::plain("never"), |ms| as_of(Some(ms))) },
            Column { key: "rounds", shown: Wide,  cell: |one, _| Cell::plain(one.rounds) },
            Column { key: "faults", shown: Wide,  cell: |one, _| Cell::plain(one.faults) },
            Column { key: "detail", shown: Table, cell: |one, _| dash(one.detail.as_ref()) },
        ];
        COLUMNS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn amounts_read_as_people_say_them() {
        for (uw, text) in [(0, "0 W"), (730, "730 uW"), (1_550, "1.5 mW"), (12_345_678, "12.3 W"),
                           (1_204_000_000, "1.20 kW")] {
            assert_eq!(power(Microwatts(uw)), text);
        }
        for (uj, text) in [(0, "0.0 mJ"), (1_500_000, "1.5 J"), (12_345_000_000, "12.3 kJ"),
                           (40_000_000_000, "11.1 Wh"), (7_200_000_000_000, "2.00 kWh")] {
            assert_eq!(energy(Microjoules(uj)), text);
        }
    }
}
