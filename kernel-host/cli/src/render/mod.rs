//! One renderer for every answer in every format.
//!
//! Does:      a resource says its columns once; tables, cards, JSON, NDJSON, YAML and names follow.
//! Does not:  know commands.
//! Bounds:    a page of objects at a time.
//! Trusts:    nobody: control characters in texts of a node are not printed.
//! Start at:  `Resource`.

mod cluster;
mod columns;
mod energy;
mod text;

pub(crate) use energy::Drawn;
pub(crate) use text::{age, milliseconds};

use crate::{Streams, arguments::Common, arguments::Format, usage};
use protocol::{Problem, Timestamp, limits, nearest};
use serde::Serialize;
use std::io;

/// How a cell is meant; colours only repeat what the text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
}

/// What stands in one place of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl Cell {
    fn plain(text: impl ToString) -> Self {
        Self {
            text: text.to_string(),
            tone: Tone::Plain,
        }
    }
}

/// A column of a table, and a line of a card.
pub(crate) struct Column<T> {
    /// Its heading in small letters, and its name for `--columns`.
    pub key: &'static str,
    pub shown: Shown,
    pub cell: fn(&T, Option<Timestamp>) -> Cell,
}

/// Where a column shows up by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shown {
    /// In every table.
    Table,
    /// In wide tables.
    Wide,
    /// Only where one thing is shown.
    Card,
}

/// Something that commands answer with.
pub(crate) trait Resource: Serialize + Sized + 'static {
    fn name(&self) -> String;
    fn columns() -> &'static [Column<Self>];
}

/// How to show one thing to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Row,
    Card,
}

/// How to show an answer.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub format: Format,
    pub columns: &'a [String],
    /// The node's clock, for ages.
    pub now: Option<Timestamp>,
}

impl<'a> View<'a> {
    pub fn new(common: &'a Common, now: Option<Timestamp>) -> Self {
        Self {
            format: common.output,
            columns: &common.columns,
            now,
        }
    }
}

/// Refuses columns that no answer of this kind has, before anything is done.
pub(crate) fn check_columns<T: Resource>(common: &Common) -> Result<(), Problem> {
    let known: Vec<&str> = T::columns().iter().map(|column| column.key).collect();
    if !common.columns.is_empty() && !matches!(common.output, Format::Table | Format::Wide) {
        let detail = "--columns is for tables; the other formats carry every field";
        return Err(usage(detail, "Leave --columns out, or use -o table"));
    }
    match common
        .columns
        .iter()
        .find(|wanted| !known.contains(&wanted.as_str()))
    {
        None => Ok(()),
        Some(wrong) => {
            let hint = nearest(wrong, known.iter().copied())
                .map_or(String::new(), |near| format!("Did you mean `{near}`? "));
            let shown = limits::shortened(wrong, 40);
            let advice = format!("{hint}The columns are {}", known.join(", "));
            Err(usage(format!("There is no column `{shown}`"), advice))
        }
    }
}

/// A list.
pub(crate) fn list<T: Resource>(
    items: &[T],
    view: &View<'_>,
    streams: &mut Streams,
) -> Result<(), Problem> {
    let text = match view.format {
        Format::Json => json(&items)?,
        Format::Yaml => yaml(&items)?,
        Format::Ndjson | Format::Name => items
            .iter()
            .map(|item| line(item, view.format))
            .collect::<Result<_, _>>()?,
        Format::Table | Format::Wide => table(items, view, streams.colour),
    };
    put(&text, streams)
}

/// Rows of a table that goes on: no heading, every column as wide as its contents usually are.
pub(crate) fn rows<T: Resource>(
    items: &[T],
    view: &View<'_>,
    streams: &mut Streams,
) -> Result<(), Problem> {
    let text = table(items, view, streams.colour);
    let body = text.split_once('\n').map_or("", |(_, body)| body);
    put(body, streams)
}

/// One thing.
pub(crate) fn one<T: Resource>(
    item: &T,
    layout: Layout,
    view: &View<'_>,
    streams: &mut Streams,
) -> Result<(), Problem> {
    let text = match (view.format, layout) {
        (Format::Json, _) => json(item)?,
        (Format::Yaml, _) => yaml(item)?,
        (Format::Ndjson | Format::Name, _) => line(item, view.format)?,
        (_, Layout::Row) => table(std::slice::from_ref(item), view, streams.colour),
        (_, Layout::Card) => card(item, view, streams.colour),
    };
    put(&text, streams)
}

/// Writes an answer. A reader that went away (`luc vm list | head -1`) wanted no more of it.
pub(crate) fn put(text: &str, streams: &mut Streams) -> Result<(), Problem> {
    let written = streams
        .output
        .write_all(text.as_bytes())
        .and_then(|()| streams.output.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(crate::local(
            format!("Writing the answer failed: {error}"),
            "Check where the output goes",
        )),
        _ => Ok(()),
    }
}

fn unwritable(error: impl std::fmt::Display) -> Problem {
    crate::local(
        format!("The answer can't be written in this format: {error}"),
        "Use -o json",
    )
}

fn json(value: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(unwritable)
}

fn yaml(value: &impl Serialize) -> Result<String, Problem> {
    serde_yaml_ng::to_string(value).map_err(unwritable)
}

fn line<T: Resource>(item: &T, format: Format) -> Result<String, Problem> {
    match format {
        Format::Name => Ok(item.name() + "\n"),
        _ => serde_json::to_string(item)
            .map(|text| text + "\n")
            .map_err(unwritable),
    }
}

fn chosen<T: Resource>(view: &View<'_>, most: Shown) -> Vec<&'static Column<T>> {
    let all = T::columns().iter();
    if view.columns.is_empty() {
        return all.filter(|column| column.shown <= most).collect();
    }
    let named = |name: &String| {
        T::columns()
            .iter()
            .find(|column| column.key == name.as_str())
    };
    view.columns.iter().filter_map(named).collect()
}

fn table<T: Resource>(items: &[T], view: &View<'_>, colour: bool) -> String {
    let most = if view.format == Format::Wide {
        Shown::Wide
    } else {
        Shown::Table
    };
    let columns = chosen::<T>(view, most);
    let mut rows = vec![
        columns
            .iter()
            .map(|c| Cell::plain(c.key.to_uppercase()))
            .collect(),
    ];
    for item in items {
        rows.push(
            columns
                .iter()
                .map(|column| (column.cell)(item, view.now))
                .collect::<Vec<_>>(),
        );
    }
    text::aligned(&rows, colour)
}

fn card<T: Resource>(item: &T, view: &View<'_>, colour: bool) -> String {
    let rows: Vec<Vec<Cell>> = chosen::<T>(view, Shown::Card)
        .iter()
        .map(|column| vec![Cell::plain(column.key), (column.cell)(item, view.now)])
        .filter(|row| view.columns.len() == 1 || row[1].text != "-")
        .collect();
    text::aligned(&rows, colour)
}
