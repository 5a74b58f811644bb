//! Lines of aligned cells, and amounts for people.
//!
//! Start at:  `aligned`.

use super::{Cell, Tone};
use protocol::limits;

/// Characters of a cell in a table; reasons and arguments are longer at times.
const CELL_CHARS_MAX: usize = 400;

/// Columns two spaces apart; the last one is not filled up.
pub(super) fn aligned(rows: &[Vec<Cell>], colour: bool) -> String {
    let rows: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| row.iter().map(safe).collect())
        .collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|at| {
            rows.iter()
                .filter_map(|row| row.get(at))
                .map(width)
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            push_toned(&mut out, cell, colour);
            if at + 1 < row.len() {
                out.extend(std::iter::repeat_n(' ', widths[at] - width(cell) + 2));
            }
        }
        out.push('\n');
    }
    out
}

fn safe(cell: &Cell) -> Cell {
    let text = if cell.text.is_empty() {
        "-"
    } else {
        &cell.text
    };
    Cell {
        text: limits::shortened(text, CELL_CHARS_MAX),
        tone: cell.tone,
    }
}

fn width(cell: &Cell) -> usize {
    cell.text.chars().count()
}

fn push_toned(out: &mut String, cell: &Cell, colour: bool) {
    let code = match cell.tone {
        Tone::Plain => None,
        Tone::Good => Some("32"),
        Tone::Busy => Some("33"),
        Tone::Bad => Some("31"),
    };
    match code.filter(|_| colour) {
        Some(code) => out.push_str(&format!("\x1b[{code}m{}\x1b[0m", cell.text)),
        None => out.push_str(&cell.text),
    }
}

/// How long ago, in the largest fitting unit.
pub(crate) fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A short span: `0.73 s`, `12 ms`.
pub(crate) fn milliseconds(ms: u64) -> String {
    if ms < 100 {
        format!("{ms} ms")
    } else {
        format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
    }
}
