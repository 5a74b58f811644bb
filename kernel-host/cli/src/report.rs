//! Errors, for whoever must act.
//!
//! Does:      problems to the error stream, as lines or as the same object; wrong usage with help.
//! Start at:  `problem`.

use crate::{Streams, arguments::Format};
use clap::error::ErrorKind;
use protocol::{Problem, limits, problem::exit};

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
pub(crate) fn usage(error: &clap::Error, streams: &mut Streams) -> u8 {
    let rendered = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = if streams.colour {
                rendered.ansi().to_string()
            } else {
                rendered.to_string()
            };
            drop(streams.output.write_all(text.as_bytes()));
            drop(streams.output.flush());
            exit::DONE
        }
        _ => {
            drop(streams.errors.write_all(rendered.to_string().as_bytes()));
            exit::USAGE
        }
    }
}
