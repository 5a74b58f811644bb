//! Errors, for whoever must act.
//!
//! Does:      problems to the error stream, as lines or as the same object; wrong usage with help.
//! Start at:  `problem`.

use crate::{Streams, arguments::Format};
use clap::{ValueEnum, error::ErrorKind};
use protocol::{Code, Problem, limits, problem::exit};
use std::ffi::OsString;

/// Tells a problem. Returns the exit code that means it.
pub(crate) fn problem(problem: &Problem, format: Format, streams: &mut Streams) -> u8 {
    let object = match format {
        Format::Json => serde_json::to_string_pretty(problem).ok(),
        Format::Ndjson => serde_json::to_string(problem).ok(),
        Format::Yaml => serde_yaml_ng::to_string(problem).ok(),
        Format::Table | Format::Wide | Format::Name => None,
    };
    match object {
        Some(object) => streams.tell(object.trim_end()),
        None => lines(problem, streams),
    }
    problem.code.exit()
}

fn lines(problem: &Problem, streams: &mut Streams) {
    let safe = |text: &str| limits::shortened(text, 2000);
    streams.tell(format_args!("error:   {}", safe(&problem.detail)));
    streams.tell(format_args!("advice:  {}", safe(&problem.advice)));
    streams.tell(format_args!("safe:    {}", safe(&problem.lost)));
    if let Some(id) = &problem.request_id {
        streams.tell(format_args!("request: {}", safe(id)));
    }
}

/// What clap says about the arguments: help and version are answers, the rest is wrong usage.
pub(crate) fn usage(error: &clap::Error, words: &[OsString], streams: &mut Streams) -> u8 {
    let rendered = error.render();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let text = if streams.colour {
            rendered.ansi().to_string()
        } else {
            rendered.to_string()
        };
        drop(streams.output.write_all(text.as_bytes()));
        drop(streams.output.flush());
        return exit::DONE;
    }
    match wanted_format(words) {
        Format::Table | Format::Wide | Format::Name => {
            drop(streams.errors.write_all(rendered.to_string().as_bytes()));
            exit::USAGE
        }
        format => problem(&as_problem(&rendered.to_string()), format, streams),
    }
}

/// The format that the arguments ask for, as far as they can be read.
fn wanted_format(words: &[OsString]) -> Format {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let apart = words
        .windows(2)
        .find(|pair| matches!(pair[0], "-o" | "--output"));
    let joined = || {
        let value = |word: &'_ &str| {
            let value = word
                .strip_prefix("--output=")
                .or_else(|| word.strip_prefix("-o"));
            value.map(|value| value.trim_start_matches('=').to_owned())
        };
        words.iter().find_map(value)
    };
    let value = apart
        .map(|pair| pair[1].to_owned())
        .or_else(joined)
        .unwrap_or_default();
    Format::from_str(&value, false).unwrap_or_default()
}

/// Clap's paragraphs: what is wrong, tips, usage, where help is.
fn as_problem(text: &str) -> Problem {
    let mut paragraphs = text
        .split("\n\n")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let wrong = paragraphs.next().unwrap_or("The arguments can't be read");
    let wrong = wrong
        .trim_start_matches("error: ")
        .split_whitespace()
        .collect::<Vec<_>>();
    let rest = paragraphs.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    Problem::new(
        Code::BadRequest,
        wrong.join(" "),
        rest.collect::<Vec<_>>().join(". "),
    )
}
