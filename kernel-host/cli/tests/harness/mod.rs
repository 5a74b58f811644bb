//! Runs `luc` in this process, with its streams caught.
#![allow(clippy::unwrap_used, dead_code)]

pub mod terminal;

use cli::Streams;
use std::{
    ffi::OsString,
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// A stream that tests can read.
#[derive(Clone, Default)]
pub struct Caught(Arc<Mutex<Vec<u8>>>);

impl Caught {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Caught {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: u8,
    pub output: String,
    pub errors: String,
}

/// Streams that are no terminals, with nothing to read.
pub fn piped(output: &Caught, errors: &Caught) -> Streams {
    Streams {
        input: None,
        output: Box::new(output.clone()),
        errors: Box::new(errors.clone()),
        input_is_terminal: false,
        output_is_terminal: false,
        errors_is_terminal: false,
        colour: false,
    }
}

/// Splits at spaces; `'` holds words together.
pub fn words(line: &str) -> Vec<OsString> {
    let mut words = vec![OsString::from("luc")];
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.into());
        } else {
            words.extend(part.split_whitespace().map(OsString::from));
        }
    }
    words
}

/// `luc <line>`.
pub fn luc(line: &str) -> Ran {
    luc_with(line, |_| {})
}

pub fn luc_with(line: &str, change: impl FnOnce(&mut Streams)) -> Ran {
    let (output, errors) = (Caught::default(), Caught::default());
    let mut streams = piped(&output, &errors);
    change(&mut streams);
    let code = cli::run_on(words(line), &mut streams);
    Ran {
        code,
        output: output.text(),
        errors: errors.text(),
    }
}

/// A file with these bytes that lives as long as the folder.
pub fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
